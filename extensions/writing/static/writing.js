// <writing-box>: a text box whose text lives on the server, where other pages and the model write on it too.
// What is typed goes there as one change at a time, made of the text as this page knows it; what others change
// comes as changes, and is fitted around what is being typed. Nobody's words are lost, and nobody has to wait.
// Places are counted in units of UTF-16, as the server counts them for us.

const LONGEST = 200_000;        // letters sent at once: a socket's message has an end
const QUIET = 250;              // milliseconds without a key until what was typed is sent

const half = (text, at) => at > 0 && at < text.length && /[\udc00-\udfff]/.test(text[at]) && /[\ud800-\udbff]/.test(text[at - 1]);

// The one change that makes `b` of `a`; no letter of two units is cut in half.
function between(a, b) {
  let at = 0, end = 0;
  const most = Math.min(a.length, b.length);
  while (at < most && a[at] === b[at]) at++;
  while (half(a, at) || half(b, at)) at--;
  while (end < most - at && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  while (half(a, a.length - end) || half(b, b.length - end)) end--;
  return {at, cut: a.length - end - at, put: b.slice(at, b.length - end)};
}

const made = (text, {at, cut, put}) => text.slice(0, at) + put + text.slice(at + cut);

// Another's change, where `mine` was made before it; on one place the other's words come first, as on the server.
function around({at, cut, put}, mine) {
  const end = at + cut, mineEnd = mine.at + mine.cut, grown = mine.put.length - mine.cut;
  if (end <= mine.at) return {at, cut, put};
  if (at >= mineEnd) return {at: at + grown, cut, put};
  const beyond = Math.max(0, end - mineEnd);
  if (at >= mine.at) return {at: mine.at + mine.put.length, cut: beyond, put};
  return {at, cut: mine.at - at + mine.put.length + beyond, put: put + mine.put};
}

class WritingBox extends HTMLElement {
  connectedCallback() {
    this.box = this.querySelector('textarea');
    this.button = this.querySelector(':scope > button');
    this.base ??= null;         // the text as the server has it, as far as we know
    this.sent ??= null;         // the same with the change that is on its way
    this.refused ??= null;      // what stood here when a change was refused: only another text is tried by itself
    this.waiting = [];
    this.composing = false;     // an input method is at work on a word
    this.stop = new AbortController();
    const {signal} = this.stop;
    this.box.addEventListener('input', () => this.later(), {signal});
    this.box.addEventListener('blur', () => this.send(), {signal});
    this.box.addEventListener('compositionstart', () => { this.composing = true; }, {signal});
    this.box.addEventListener('compositionend', () => { this.composing = false; this.take(); }, {signal});
    addEventListener('pagehide', () => this.send(), {signal});
    document.addEventListener('click', event => this.hold(event), {signal, capture: true});
    document.addEventListener('htmx:ws:after:connection', () => this.sent == null ? this.later() : this.button.click(), {signal});
    this.watch = new MutationObserver(() => this.take());
    this.watch.observe(this, {childList: true, subtree: true, attributeFilter: ['data-revision', 'data-path']});
    this.take();
  }
  disconnectedCallback() { this.stop.abort(); this.watch.disconnect(); clearTimeout(this.timer); }
  connectedMoveCallback() {}

  get settled() { return this.base == null || this.sent == null && this.box.value === this.base; }

  // Whether nothing arrives, however long one waits.
  get lost() {
    const silent = this.sent != null && Date.now() - this.since > 3000;
    return silent || this.box.value === this.refused || document.documentElement.dataset.uiLink !== 'online';
  }

  // Whether leaving the page would lose words: what can be sent is, at the last moment.
  unsaved() {
    this.send();
    return !this.settled && (this.lost || this.box.value !== this.sent);
  }

  // A button that is about the text, and what leads away from it, wait until the text has arrived.
  hold(event) {
    const at = selector => event.target.closest?.(selector);
    const elsewhere = event.ctrlKey || event.metaKey || event.shiftKey;
    this.fresh = !!at('#writing-new');
    const button = at('[data-writing]') || !this.lost && at('button[data-leaves]');
    const link = !this.lost && !elsewhere && at('a[href]:not([target], [download])');
    if (!button && !link || this.settled) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    this.refused = null;
    this.waiting = [() => link ? location.assign(link.href) : (button.id ? document.getElementById(button.id) : button)?.click()];
    this.send();
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.send(), QUIET);
  }
  send() {
    clearTimeout(this.timer);
    if (this.base == null || this.sent != null || this.box.value === this.base) return;
    if (this.box.value === this.refused || document.documentElement.dataset.uiLink !== 'online') return;
    this.mend();
    this.tried = this.box.value;
    const change = between(this.base, this.box.value);
    if (change.put.length > LONGEST) change.put = change.put.slice(0, LONGEST - half(change.put, LONGEST));
    this.sent = made(this.base, change);
    this.since = Date.now();
    this.id_ = Math.random().toString(36).slice(2) + Date.now().toString(36);
    this.say({...change, revision: this.revision, id: this.id_});
  }
  mend() {                      // half a letter, as a paste may have it, no message carries
    const {at, cut, put} = between(this.box.value, this.box.value.toWellFormed());
    if (put) this.box.setRangeText(put, at, at + cut, 'preserve');
  }
  say(values) {
    const action = `${this.dataset.tab}.edit`, box = this.box.id.replace('writing-', '');
    this.button.setAttribute('hx-vals', JSON.stringify({action, name: this.name, box, ...values}));
    this.button.click();
  }

  // --- what the server says ---

  take() {
    this.here();
    if (this.composing) return;                  // a box that a script writes on ends the word as it is
    const now = this.querySelector('writing-now');
    const key = now && `${now.dataset.revision} ${now.dataset.name} ${now.dataset.refused ?? ''}`;
    if (key && key !== this.key) { this.key = key; this.whole(now.dataset, now.textContent); }
    for (const news of this.querySelectorAll('writing-change, writing-done, writing-stuck')) {
      news.remove();
      if (news.matches('writing-stuck')) { this.stick(news.dataset.id); continue; }
      const revision = Number(news.dataset.revision);
      if (revision <= this.revision) continue;
      if (revision > this.revision + 1) { this.say({at: 0, cut: 0, put: '', revision: 0, id: ''}); continue; }   // missed one
      this.revision = revision;
      if (news.matches('writing-done')) { this.base = this.sent; this.sent = null; }
      else this.apply({at: Number(news.dataset.at), cut: Number(news.dataset.cut), put: news.textContent});
    }
    this.go();
  }
  stick(id) {                   // what is here stays; who waited for it must not go on without
    if (id !== this.id_) return;
    this.sent = null;
    this.refused = this.tried;
    this.waiting = [];
  }
  whole({name, revision, taken, refused}, text) {
    const other = name !== this.name && text !== this.base;
    if (this.base == null || other) {
      this.base = this.box.value = text;
      this.sent = null;
    } else {
      if (this.sent != null && (taken.split(' ').includes(this.id_) || text === this.sent)) { this.base = this.sent; this.sent = null; }
      if (refused === this.id_ || name !== this.name) this.sent = null;            // it is made anew, of this text
      this.apply(between(this.base, text), text);
    }
    if (!text && this.fresh) {
      document.querySelector('#writing-side:popover-open')?.hidePopover();         // on a phone it lies over the text
      this.box.focus();
    }
    this.fresh = false;
    this.name = name;
    this.revision = Number(revision);
  }
  apply(change, result = made(this.base, change)) {
    const {box} = this, mine = between(this.base, box.value);
    const {at, cut, put} = around(change, mine);
    if (cut || put) {
      const follows = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
      box.setRangeText(put, at, at + cut, 'preserve');
      if (follows) box.scrollTop = box.scrollHeight;
    }
    if (this.sent != null) this.sent = made(this.sent, around(change, between(this.base, this.sent)));
    this.base = result;
  }
  go() {                        // what was typed meanwhile is next; then who waited for it
    if (this.base != null && this.sent == null && this.box.value !== this.base) this.waiting.length ? this.send() : this.later();
    if (this.settled) for (const go of this.waiting.splice(0)) go();
  }

  // The address and the title follow the text.
  here() {
    const {path} = this.dataset;
    if (path && decodeURI(path) !== decodeURI(location.pathname)) history.replaceState(null, '', path);
    document.title = document.getElementById('writing-title')?.textContent || document.title;
  }
}

customElements.define('writing-box', WritingBox);
