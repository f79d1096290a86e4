// Two elements of the chat: <chat-log> stays at the newest words, or where its reader is, and gives
// the page its title; <chat-composer> keeps a draft until the server has the message. Both clean up after themselves.

const unsent = () => document.dispatchEvent(new CustomEvent('page:notice', {detail: 'page-unsent'}));
const say = word => document.dispatchEvent(new CustomEvent('page:say', {detail: word}));

// The Enter that ends the choice of a character in an input method is none; Safari's has only the code 229 to tell it by.
const sends = ({key, keyCode, shiftKey, ctrlKey, metaKey, altKey, isComposing}) =>
  key === 'Enter' && !shiftKey && !altKey && !isComposing && keyCode !== 229 && (ctrlKey || metaKey) === matchMedia('(pointer: coarse)').matches;

// Of an incognito conversation the browser keeps nothing: leaving it asks, where words would be lost.
const secret = () => 'secret' in document.getElementById('chat-id').dataset;

const unique = () => [...crypto.getRandomValues(new Uint8Array(16))].map(byte => byte.toString(16).padStart(2, '0')).join('');
const bare = (text = '') => text.replace(/[\s\p{C}\ufffd]+/gu, '');     // two texts are compared that went different ways

// Scrolls along while pinned. Only a move up unpins: text that grows between our own scroll and
// its event would otherwise look like a reader who went away.
class ChatLog extends HTMLElement {
  static observedAttributes = ['data-at'];
  attributeChangedCallback(name, before, now) { if (before !== null && before !== now) setTimeout(() => this.goTo(now)); }
  // A search led to a message: show it, mark it, and stay. Otherwise this is the end of another conversation.
  goTo(place) {
    if (!place) return;                                           // the page came back: it stays where it is
    for (const found of this.querySelectorAll('[data-ui-found]')) found.removeAttribute('data-ui-found');
    const message = document.getElementById(place.split(' ')[0]);
    if (!message) return this.toEnd(true);
    this.pinned = false;
    document.querySelector('#chat-side:popover-open')?.hidePopover();
    message.setAttribute('data-ui-found', '');
    message.scrollIntoView({block: 'center'});
    if (!document.activeElement.closest('chat-composer')) message.focus({preventScroll: true});      // whoever writes goes on writing
    this.last = this.scrollTop;
    this.toggleAttribute('data-ui-away', true);
  }
  connectedCallback() {
    this.pinned ??= true;
    this.last = 0;
    this.follow = new ResizeObserver(() => this.toEnd());      // after layout, before paint
    this.follow.observe(this);
    for (const child of this.children) this.follow.observe(child);
    this.addEventListener('scroll', this, {passive: true});
    this.addEventListener('click', this);
    this.addEventListener('keydown', this);
    this.name = new MutationObserver(() => this.entitle());
    this.name.observe(document.querySelector('.chat-bar'), {childList: true, characterData: true, subtree: true});
    this.entitle();
    this.toEnd();
    this.edits ??= new Map(Object.entries(sessionStorage).filter(([key]) => key.startsWith('edit:')));
    this.addEventListener('input', this);
    this.edited = new MutationObserver(changes => this.editing(changes));
    this.edited.observe(this, {childList: true, subtree: true, attributeFilter: ['data-ui-edit']});
    this.sent = new Set();                                        // edits that nobody has answered yet
    this.addEventListener('htmx:ws:after:message:outgoing', this);
    document.addEventListener('htmx:ws:close', this);
    this.editing([]);
  }
  disconnectedCallback() {
    this.follow.disconnect();
    this.name.disconnect();
    this.edited.disconnect();
    clearTimeout(this.timer);
    document.removeEventListener('htmx:ws:close', this);
    this.removeEventListener('htmx:ws:after:message:outgoing', this);
    this.removeEventListener('input', this);
    this.removeEventListener('scroll', this);
    this.removeEventListener('click', this);
    this.removeEventListener('keydown', this);
  }
  connectedMoveCallback() {}
  // A page that comes back, or a log that changed as a whole, is drawn with the newest messages: who was reading older
  // ones, so that neither the one in the middle nor the one above it is there any more, goes back to those.
  mark() {
    if (this.pinned) return;
    const {top, height} = this.getBoundingClientRect(), articles = [...this.querySelectorAll('article')];
    const at = articles.findIndex(each => each.getBoundingClientRect().bottom > top + height / 2);
    if (at >= 0) this.place ??= {ids: articles.slice(Math.max(0, at - 1), at + 1).map(each => each.id), path: location.pathname};
  }
  back() {
    const {ids, path} = this.place ?? {};
    if (path !== location.pathname || ids.some(id => document.getElementById(id))) return;
    this.place = null;
    const button = document.getElementById('chat-back');
    button.setAttribute('hx-vals', JSON.stringify({action: 'chat.back', message: ids.at(-1).replace('chat-m', '')}));
    button.click();
  }
  entitle() { document.title = document.getElementById('chat-title').textContent; }
  // What is typed into an edit outlives its message's going out of sight, and a reload; it ends with Cancel,
  // or when it was sent and another version of its message came; if none does, the edit opens again.
  keep(field) {
    if (!field.matches('.chat-edit textarea')) return;
    const key = `edit:${field.closest('article').id}`;
    this.edits.set(key, field.value);
    if (!secret()) sessionStorage.setItem(key, field.value);
  }
  unsaved() { return secret() && [...this.edits.keys()].some(key => document.getElementById(key.slice(5))); }
  editing(changes) {
    if (!this.edits.size) return;
    for (const {type, target} of changes) if (type === 'attributes') {
      const key = `edit:${target.id}`, field = target.querySelector('.chat-edit textarea');
      if (target.dataset.uiEdit != null) this.sent.delete(key);
      else if (!this.sent.has(key)) this.forget(key);
      if (this.edits.has(key) && field) field.value = this.edits.get(key);
    }
    for (const key of this.edits.keys()) {
      const message = document.getElementById(key.slice(5));
      if (this.sent.has(key)) { if (!message) this.forget(key); }
      else if (message?.dataset.uiEdit === undefined) message?.querySelector('.chat-tools [data-edit]')?.click();
    }
  }
  forget(key) { this.edits.delete(key); this.sent.delete(key); sessionStorage.removeItem(key); }
  sending(edit) {
    if (!edit) return;
    this.sent.add(`edit:${edit.closest('article').id}`);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.again(), 4000);
  }
  again() {                                                       // it was refused, or lost on the way
    if (!this.sent.size) return;
    const {activeElement, body} = document;
    this.sent.clear();
    this.editing([]);
    if (activeElement !== body) activeElement?.focus({preventScroll: true});     // whoever went on to write elsewhere stays there
  }
  // Enter keeps an edit, as it sends a message; Shift+Enter is a new line.
  enter(event) {
    if (!event.target.matches('.chat-edit textarea') || !sends(event)) return;
    event.preventDefault();
    event.target.form.requestSubmit();
  }
  handleEvent(event) {
    const {type, target} = event;
    if (type === 'keydown') return this.enter(event);
    if (type === 'input') return this.keep(target);
    if (type === 'htmx:ws:close') return this.again();
    if (type === 'htmx:ws:after:message:outgoing') return this.sending(target.closest('.chat-edit'));
    const opens = target.closest?.('[popovertarget=chat-menu]'), list = document.getElementById('chat-menu-list');
    if (opens && `chat-m${list.querySelector('[name=message]')?.value}` !== opens.closest('article').id) list.replaceChildren();   // of another message
    if (target.closest?.('#chat-later button')) this.pinned = false;
    if (target.closest?.('#chat-earlier button')) { this.pinned = false; this.first = this.querySelector('article'); }
    if (this.first) this.top = this.first.getBoundingClientRect().top;
    if (type === 'click') return;
    const gap = this.scrollHeight - this.scrollTop - this.clientHeight;
    if (this.scrollTop < this.last - 1 && gap > 1) this.pinned = false;
    else if (gap < 40) this.pinned = true;
    this.last = this.scrollTop;
    this.toggleAttribute('data-ui-away', !this.pinned);
  }
  toEnd(always = false) {
    if (this.first && this.querySelector('article') !== this.first) {      // earlier ones came: stay with what is read
      this.scrollTop += this.first.getBoundingClientRect().top - this.top;
      this.first = null;
    }
    if (always) this.pinned = true;
    if (!this.pinned) return;
    this.scrollTop = this.querySelector('#chat-empty') ? 0 : this.scrollHeight;
    this.last = this.scrollTop;
  }
}

// What the server will not take as it is becomes a PNG, a photo a JPEG: upright, as it is shown, and within both limits.
async function redrawn(file, largest, dots) {
  const picture = await createImageBitmap(file).catch(() => null);
  if (!picture) return [file, 'same'];                            // the server says what is wrong with it
  const {width, height} = picture, canvas = document.createElement('canvas'), pen = canvas.getContext('2d');
  const most = file.size > largest ? Math.min(dots, 8e6) : dots;                   // several of them fit one message
  const as = (type, quality) => new Promise(done => canvas.toBlob(done, type, quality));
  for (let scale = Math.min(1, Math.sqrt(most / (width * height)), 16384 / Math.max(width, height));; scale *= 0.7) {
    canvas.width = Math.max(1, Math.floor(width * scale));
    canvas.height = Math.max(1, Math.floor(height * scale));
    pen.imageSmoothingQuality = 'high';
    pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
    const how = scale < 1 || file.size > largest ? 'smaller' : 'same';
    const png = file.type === 'image/jpeg' ? null : await as('image/png');
    if (png && png.size <= largest) return [png, how];
    pen.globalCompositeOperation = 'destination-over';            // a JPEG has no holes: white lies below
    pen.fillStyle = 'white';
    pen.fillRect(0, 0, canvas.width, canvas.height);
    const jpeg = await as('image/jpeg', 0.92);
    if (!jpeg || jpeg.size <= largest || canvas.width + canvas.height < 99) return [jpeg ?? file, png ? 'smaller' : how];
  }
}

// Enter sends (Shift+Enter is a new line; on a touch screen Enter is, and a keyboard beside it sends with Ctrl). The words stay in the box
// until the log shows them as a message; they survive a reload in sessionStorage.
class ChatComposer extends HTMLElement {
  connectedCallback() {
    this.box = this.querySelector('textarea');
    this.form = this.box.form;
    this.log = document.querySelector('chat-log');
    this.stop = new AbortController();
    const {signal} = this.stop;
    if (!this.box.value) this.box.value = sessionStorage.getItem(this.key) ?? '';
    this.late ??= JSON.parse(sessionStorage.getItem(`sent:${this.key}`));      // when the page was thrown away nobody had seen it
    if (this.isSent()) this.settle(true);
    this.put = this.box.value;                                      // what stands there if nobody has written since
    this.box.addEventListener('input', () => { this.keep(); this.wish(false); }, {signal});
    this.box.addEventListener('keydown', event => this.enter(event), {signal});
    this.addEventListener('click', event => this.does(event), {signal, capture: true});
    const menu = document.getElementById('chat-menu'), leave = () => setTimeout(() => menu.hidePopover());
    menu.addEventListener('click', ({target}) => { if (target.closest('.chat-choices button')) leave(); }, {signal});
    menu.addEventListener('htmx:ws:after:message:outgoing', ({target}) => {
      if (!target.matches('.chat-insert')) return leave();
      this.insert = {form: target, text: bare(target.elements.text.value), before: this.sources(), at: Date.now()};
    }, {signal});
    menu.addEventListener('submit', event => {                        // until it is there, or nobody waits for it any more
      if (Date.now() - this.insert?.at < 4000) { event.preventDefault(); event.stopImmediatePropagation(); }
    }, {signal, capture: true});
    const release = () => { if (this.insert) this.insert.at = 0; };
    menu.addEventListener('toggle', release, {signal});
    document.addEventListener('htmx:ws:close', release, {signal});
    this.listen(signal);
    this.form.addEventListener('submit', event => {
      if (this.enclosing) this.wish(true);
      if (!this.arrived && this.empty || this.sent != null || this.enclosing) { event.preventDefault(); event.stopImmediatePropagation(); }
      else this.submittedAt = Date.now();
      const last = this.log.querySelector('#chat-later button') ? null : [...this.log.querySelectorAll('article')].at(-1);
      this.form.elements.after.value = last?.id.replace('chat-m', '') ?? '';       // what the words follow, as seen here
      const again = this.late?.key === this.key && this.late.text === this.box.value;
      this.form.elements.idempotency_key.value = again ? this.late.once : unique();       // of what arrives twice one is kept
    }, {signal, capture: true});
    this.form.addEventListener('htmx:ws:after:message:outgoing', ({target}) => { if (target === this.form) this.wait(); }, {signal});
    document.addEventListener('htmx:ws:close', () => { clearTimeout(this.timer); clearTimeout(this.forgets); this.log.mark(); }, {signal});
    const forget = () => { this.log.place = null; };
    document.addEventListener('htmx:ws:after:message:incoming', () => this.log.back(), {signal});
    document.addEventListener('htmx:ws:after:connection', () => {
      clearTimeout(this.forgets);
      this.forgets = setTimeout(forget, 60000);                       // what it shows may be long in coming
      if (this.sent) this.wait(this.sent);
      const find = document.getElementById('chat-find');
      if (find?.elements.text.value) find.requestSubmit();        // the list is as the server drew it: search again
    }, {signal});
    document.addEventListener('click', ({target}) => {
      if (!target.closest?.('[data-newest]')) return;
      forget();
      const end = document.getElementById('chat-later-end');         // the page may not have it yet
      if (end) end.click(); else this.log.toEnd(true);
      this.box.focus();
    }, {signal});
    const go = document.getElementById('chat-go');                  // Send and Stop take turns; the focus goes along
    document.addEventListener('htmx:before:swap', ({detail: {tasks}}) => {
      this.pressing = go.contains(document.activeElement);
      this.anew = !this.log.place && tasks.some(({target}) => target?.id === 'chat-log');
      if (this.anew) this.log.mark();
    }, {signal});
    document.addEventListener('htmx:after:swap', () => {
      if (this.anew) { this.log.back(); forget(); this.anew = false; }
      if (this.pressing && document.activeElement === document.body) go.querySelector('button').focus();
    }, {signal});
    this.watch = new MutationObserver(changes => this.seen(changes));
    this.watch.observe(this.log, {childList: true, subtree: true});
    this.draft = new MutationObserver(() => this.take());
    this.draft.observe(document.getElementById('chat-draft'), {childList: true, characterData: true, subtree: true});
    this.watch.observe(this, {childList: true, attributeFilter: ['data-busy'], attributeOldValue: true, subtree: true});
    document.addEventListener('visibilitychange', () => {            // a page out of sight may be thrown away
      const {activeElement: field, hidden, documentElement} = document;
      const typed = field.matches('#chat-setup-form :is(input, textarea)') && field.value !== field.defaultValue;
      if (hidden && typed && documentElement.dataset.uiLink === 'online') field.form.requestSubmit();
    }, {signal});
    if (matchMedia('(hover: hover)').matches && document.activeElement === document.body) this.box.focus();
  }
  disconnectedCallback() { this.stop.abort(); this.watch.disconnect(); this.draft.disconnect(); clearTimeout(this.timer); }
  connectedMoveCallback() {}

  // Files that are chosen, pasted or dropped go to the address data-takes of an extension that wants them, below a name
  // made up here, which a reload keeps as it keeps a draft. By the button data-names the server learns whose name it is.
  get taker() { return this.querySelector('[data-takes]'); }
  get bagKey() { return `enclosed:${location.pathname}`; }
  listen(signal) {
    const area = this.closest('.chat-main'), over = on => this.toggleAttribute('data-ui-over', on);
    const dragged = event => this.taker && [...event.dataTransfer?.types ?? []].includes('Files');
    const on = (where, name, does) => where.addEventListener(name, does, {signal});
    this.bagAt ??= this.bagKey;
    this.bag ??= sessionStorage.getItem(this.bagKey) ?? unique();
    on(this, 'click', ({target}) => {
      if (target.closest('[data-chooses]')) document.getElementById(target.closest('[data-chooses]').dataset.chooses).click();
      if (target.closest('[data-enclosed] button')) this.box.focus();
    });
    on(this, 'change', event => {
      if (event.target.type !== 'file') return;
      event.stopPropagation();
      this.enclose([...event.target.files]);
      event.target.value = '';
    });
    on(this.box, 'paste', event => {
      const {files, types} = event.clipboardData;
      if (!this.taker || !files.length || types.includes('text/plain')) return;   // words with a picture of them are words
      event.preventDefault();
      this.enclose([...files]);
    });
    on(area, 'dragover', event => { if (dragged(event)) { event.preventDefault(); over(true); } });
    on(area, 'dragleave', event => { if (!area.contains(event.relatedTarget)) over(false); });
    on(area, 'drop', event => {
      over(false);
      if (!dragged(event)) return;
      event.preventDefault();
      this.enclose([...event.dataTransfer.files]);
    });
    on(document, 'click', async ({target}) => {
      const at = this.taker && target.closest?.('[data-encloses]')?.dataset.encloses;
      if (at) this.enclose([await (await fetch(at)).blob()]);
    });
    on(document, 'htmx:ws:after:connection', () => this.named());
    if (document.documentElement.dataset.uiLink === 'online') setTimeout(() => this.named());
  }
  named() {
    const shown = !!this.querySelector('[data-enclosed]');
    for (const button of this.querySelectorAll('[data-names]')) {
      button.setAttribute('hx-vals', JSON.stringify({...JSON.parse(button.getAttribute('hx-vals')), box: this.bag, shown}));
      button.click();
    }
  }
  wish(on) { this.toggleAttribute('data-ui-wish', on); }            // to send, as soon as all files are here
  async enclose(files) {
    const {takes, largest, dots} = this.taker.dataset;
    if (this.bagAt !== this.bagKey) sessionStorage.removeItem(this.bagAt);          // the page is at another conversation by now
    this.bagAt = this.bagKey;
    sessionStorage.setItem(this.bagAt, this.bag);
    this.named();
    this.enclosing = (this.enclosing ?? 0) + 1;                       // others may be on their way already
    this.toggleAttribute('data-ui-enclosing', true);
    const send = async (body, how) => {
      const {status} = await fetch(`${takes}/${this.bag}${how}`, {method: 'POST', body: body.slice(0, Number(largest) + 1)}).catch(() => ({}));
      if (![204, 409, 422, 507].includes(status)) unsent();                       // of all others the server tells nobody
      return status;
    };
    let first = '?first';
    try {
      for (const file of files) {
        let status = file.size > Number(largest) ? 409 : await send(file, first);
        if (status === 409) {                                                     // the server says so where it cannot be drawn
          const [body, drawn] = await redrawn(file, Number(largest), Number(dots)).catch(() => [file, 'same']);
          status = await send(body, `${first || '?'}&drawn=${drawn}`);
        }
        this.missing ||= status !== 204;
        if (![204, 422].includes(status)) break;                                  // the next would not arrive either
        first = '';
      }
    } finally { this.toggleAttribute('data-ui-enclosing', --this.enclosing > 0); }
    if (!this.enclosing) this.sendWished();
    if (matchMedia('(hover: hover)').matches) this.box.focus();                     // a phone would show its keyboard
  }

  sendWished() {
    const here = this.bagAt === this.bagKey && !this.querySelector('[data-busy=true]');
    this.arrived = this.hasAttribute('data-ui-wish') && here && !this.missing;     // a row may be slower than its files
    this.wish(false);
    if (this.arrived) this.form.requestSubmit();
    this.arrived = this.missing = false;
  }

  get key() { return `draft:${location.pathname}`; }
  keep() { this.undelivered(false); if (!secret()) sessionStorage.setItem(this.key, this.box.value); }
  unsaved() { return secret() && this.box.value.trim() && this.sent == null; }

  get empty() { return !this.box.value.trim() && !this.querySelector('[data-enclosed]'); }
  enter(event) {
    if (!sends(event) || (event.ctrlKey || event.metaKey) && this.empty) return;
    event.preventDefault();
    event.stopPropagation();
    if (!this.querySelector('[data-busy=true]')) this.form.requestSubmit();
  }
  // A choice of the conversation's menu: sent with the words of the box, by a form of its own.
  does(event) {
    if (event.isTrusted && event.target.closest('#chat-stop') && Date.now() - this.submittedAt < 500) return event.stopPropagation();   // meant for Send
    const button = event.target.closest('#chat-do button');
    if (!button) return;
    const {do: action, role = 'user', step = '1'} = button.dataset, menu = document.getElementById('chat-do');
    if (button.id === 'chat-do-copy') {
      const last = [...this.log.querySelectorAll('article.chat-reply > template')].at(-1);
      if (last) button.dataset.copy = last.id; else event.stopPropagation();
    }
    if (action) {
      this.put = this.box.value;
      const form = document.getElementById('chat-do-form');
      for (const [name, value] of Object.entries({action, role, step, text: this.box.value})) form.elements[name].value = value;
      form.requestSubmit();
    }
    if (menu.matches(':popover-open')) setTimeout(() => menu.hidePopover());
  }
  take() {                                                        // what the server puts into the box
    const {textContent: text, firstElementChild: mark} = document.getElementById('chat-draft');
    if (!mark) return;
    const {how} = mark.dataset, now = this.box.value, there = text && now.startsWith(text);
    if (how === 'before') {
      this.settle(false);
      this.discard();                                               // what comes later is another page's message
      if (!there) this.box.value = now.trim() ? `${text}\n\n${now}` : text;
    }
    else if (how === 'out') { if (there) this.box.value = now.slice(text.length).trimStart(); }
    else if (now === this.put) this.box.value = text;
    else {                                                          // whoever writes there goes on alone
      if (text) document.querySelector('[data-impersonates] #chat-stop')?.click();
      return;
    }
    this.put = this.box.value;
    this.box.dispatchEvent(new Event('input', {bubbles: true}));
  }
  wait(sent = {key: this.key, text: this.box.value, once: this.form.elements.idempotency_key.value}) {
    this.sent = sent;
    if (!secret()) sessionStorage.setItem(`sent:${sent.key}`, JSON.stringify(sent));
    clearTimeout(this.timer);
    this.undelivered(false);
    this.timer = setTimeout(() => { this.settle(false); this.undelivered(true); }, 4000);      // refused: a toast says why
    this.log.toEnd(true);
  }
  undelivered(is) { document.getElementById('chat-undelivered').hidden = !is; }
  discard() { if (this.late) sessionStorage.removeItem(`sent:${this.late.key}`); this.late = null; }
  isSent() {                                                        // the same words may have been said before
    const sent = this.sent ?? this.late;
    return sent && this.log.querySelector(`[data-once="${sent.once}"]`);
  }
  // The words of all messages as they are edited. What is inserted is among them once it is there: until then its form stays.
  sources() { return [...this.log.querySelectorAll('article > template')]; }
  inserted() {
    const {form, text, before} = this.insert;
    if (!this.sources().some(each => !before.includes(each) && bare(each.content.querySelector('textarea').value) === text)) return;
    this.insert = null;
    if (!form.isConnected) return;
    form.reset();
    document.getElementById('chat-menu').hidePopover();
  }
  settle(arrived) {
    const sent = this.sent ?? this.late;                            // a wire may hold it longer than anybody waits
    if (sent == null) return;
    if (arrived) {
      sessionStorage.removeItem(sent.key);
      if (this.box.value === sent.text) this.box.value = this.put = '';
      else this.keep();
      this.undelivered(false);
    }
    this.sent = null;
    this.late = sent;
    if (arrived) this.discard();
    clearTimeout(this.timer);
  }
  ending() {                                                        // stopped, cut off, failed: it is not complete
    const last = [...this.log.querySelectorAll('article.chat-reply')].at(-1);
    return last?.querySelector('.chat-error, .chat-note:not(:empty)') ? 'noted' : 'done';
  }
  seen(changes) {
    for (const {type, target, oldValue, addedNodes} of changes) {
      if (type === 'childList') for (const node of addedNodes) {
        if (node.matches?.('[data-names]')) setTimeout(() => this.named());       // whoever asks for it was just switched on
      }
      else if (oldValue !== target.dataset.busy) {
        this.log.querySelector('[role=log]').ariaBusy = target.dataset.busy;
        say(target.dataset.busy === 'true' ? 'busy' : this.ending());
      }
    }
    if (this.isSent()) this.settle(true);
    if (this.insert) this.inserted();
  }
}

document.addEventListener('click', ({target}) => target.closest?.('[data-wrap]')?.closest('.code').toggleAttribute('data-ui-wrap'));

customElements.define('chat-log', ChatLog);
customElements.define('chat-composer', ChatComposer);

// A formula: its words stay in the page, for whoever copies or morphs it; what KaTeX draws of them is a shadow.
const KATEX = '/static/vendor/katex/katex.min';
const RULES = {throwOnError: false, strict: 'ignore', maxExpand: 500, maxSize: 30};  // a model's LaTeX concerns no console
const style = href => Object.assign(document.createElement('link'), {rel: 'stylesheet', href});
let katex, asked = 0;
const drawing = () => katex ??= import(`${KATEX}.js${asked++ ? `?${asked}` : ''}`).then(() => {      // some browsers keep a failure
  document.head.append(style(`${KATEX}.css`));        // fonts are only known to a page as a whole
  if (asked > 1) for (const each of document.querySelectorAll('chat-math')) each.draw();            // those that went without it
  return self.katex;
}, () => { katex = null; });                          // the next formula asks again; a dead wire is no fault of this script

// The page's policy forbids attributes with styles, which KaTeX writes; a style that is set is none.
function styling(does) {
  const {setAttribute} = Element.prototype;
  Element.prototype.setAttribute = function (name, value) {
    if (name === 'style') this.style.cssText = value; else setAttribute.call(this, name, value);
  };
  try { does(); } finally { Element.prototype.setAttribute = setAttribute; }
}

class ChatMath extends HTMLElement {
  connectedCallback() {
    this.words ??= new MutationObserver(() => this.draw());
    this.words.observe(this, {childList: true, characterData: true, subtree: true});
    this.draw();
  }
  disconnectedCallback() { this.words.disconnect(); }
  async draw() {
    const {render} = await drawing() ?? {};
    if (!render || !this.isConnected) return;
    const place = document.createElement('span');
    const displayMode = this.matches('.display');
    styling(() => render(this.textContent, place, {...RULES, displayMode}));
    (this.shadowRoot ?? this.attachShadow({mode: 'open'})).replaceChildren(style(`${KATEX}.css`), place);
  }
}
customElements.define('chat-math', ChatMath);
