// Two elements: <conversations-desk> has the dialog of one conversation and lets each be dragged onto a
// folder of the list, and <conversations-import> sends files in parts. Both clean up after themselves.

const PART = 4 * 2 ** 20;
const LIFT = 400;                                                 // milliseconds

class Desk extends HTMLElement {
  connectedCallback() {
    this.leaving = new AbortController();
    const {signal} = this.leaving;
    const to = event => event.target.closest?.('[data-folder]');
    document.addEventListener('click', event => this.clear(event), {signal, capture: true});
    document.addEventListener('dragstart', event => {
      this.dragged = event.target.closest?.('[data-conversation]')?.dataset.conversation;
    }, {signal});
    document.addEventListener('dragover', event => {
      const folder = this.dragged && to(event);
      this.mark(folder);
      if (folder) event.preventDefault();
    }, {signal});
    document.addEventListener('drop', event => {
      const folder = this.dragged && to(event);
      if (folder) event.preventDefault();
      this.drop(folder);
    }, {signal});
    document.addEventListener('dragend', () => this.drop(), {signal});
    const list = this.parentElement;
    list.addEventListener('pointerdown', event => this.press(event, list), {signal});
    for (const name of ['touchmove', 'contextmenu']) {           // the list stays where it is, the link a link
      list.addEventListener(name, event => { if (this.held) event.preventDefault(); }, {signal, passive: false});
    }
  }
  disconnectedCallback() { this.leaving.abort(); }
  connectedMoveCallback() {}
  // Until the server has said it the dialog is of no conversation: what was typed for another goes.
  clear({target}) {
    if (!target.closest?.('[data-open=conversations-sheet]')) return;
    this.querySelector('dialog h2').textContent = 'Conversation';
    this.querySelector('dialog .body')?.remove();
  }
  // A finger that rests on a conversation takes it up: a touch knows no dragstart everywhere.
  press({pointerType, target, clientX, clientY, pointerId}, list) {
    const row = target.closest?.('[data-conversation]');
    if (pointerType === 'mouse' || !row || target.closest('button, form')) return;
    const over = new AbortController(), {signal} = over;
    row.draggable = false;
    const lift = setTimeout(() => { this.held = true; this.dragged = row.dataset.conversation; row.dataset.uiHeld = ''; }, LIFT);
    const end = event => {
      clearTimeout(lift);
      over.abort();
      row.draggable = true;
      delete row.dataset.uiHeld;
      if (!this.held) return;
      this.held = false;
      this.drop(event.type === 'pointerup' ? this.over : null);
      const still = click => { click.preventDefault(); click.stopPropagation(); };
      document.addEventListener('click', still, {capture: true});                 // it was no tap
      setTimeout(() => document.removeEventListener('click', still, {capture: true}), 50);
    };
    const move = event => {
      if (event.pointerId !== pointerId) return;
      if (!this.held) { if (Math.hypot(event.clientX - clientX, event.clientY - clientY) > 10) end(event); return; }
      this.mark(document.elementFromPoint(event.clientX, event.clientY)?.closest('[data-folder]'));
      const {top, bottom} = list.getBoundingClientRect(), y = event.clientY;
      list.scrollBy(0, y < top + 48 ? -12 : y > bottom - 48 ? 12 : 0);
    };
    document.addEventListener('pointermove', move, {signal});
    for (const name of ['pointerup', 'pointercancel']) document.addEventListener(name, end, {signal});
  }
  drop(folder) {
    const form = this.querySelector('form'), id = this.dragged;
    this.mark();
    this.dragged = null;
    if (!folder || !id) return;
    form.elements.conversation.value = id;
    form.elements.folder.value = folder.dataset.folder;
    form.requestSubmit();
  }
  mark(folder) {
    if (this.over === folder) return;
    this.over?.removeAttribute('data-ui-over');
    folder?.setAttribute('data-ui-over', '');
    this.over = folder;
  }
}

class Import extends HTMLElement {
  connectedCallback() {
    this.leaving = new AbortController();
    const {signal} = this.leaving;
    this.addEventListener('click', ({target}) => {
      const wanted = target.closest?.('[data-choose]')?.dataset.choose;
      if (wanted) this.querySelector(wanted === 'folder' ? '[webkitdirectory]' : '[multiple]').click();
    }, {signal});
    this.addEventListener('change', ({target}) => {
      if (target.type !== 'file') return;
      this.send([...target.files].map(file => [file.webkitRelativePath || file.name, file]));
      target.value = '';
    }, {signal});
    this.addEventListener('dragover', event => { event.preventDefault(); this.toggleAttribute('data-ui-over', true); }, {signal});
    this.addEventListener('dragleave', () => this.toggleAttribute('data-ui-over', false), {signal});
    this.addEventListener('drop', event => {
      event.preventDefault();
      this.toggleAttribute('data-ui-over', false);
      const entries = [...event.dataTransfer.items].map(item => item.webkitGetAsEntry?.()).filter(Boolean);
      this.gather(entries).then(files => this.send(files));
    }, {signal});
  }
  disconnectedCallback() { this.leaving.abort(); }
  connectedMoveCallback() {}

  // What was dropped: files, and all files in folders.
  async gather(entries) {
    const found = [];
    for (const entry of entries) {
      if (entry.isFile) found.push([entry.fullPath.slice(1), await new Promise((done, fail) => entry.file(done, fail))]);
      else {
        const reader = entry.createReader();
        for (let some = [1]; some.length;) {
          some = await new Promise((done, fail) => reader.readEntries(done, fail));
          found.push(...await this.gather(some));
        }
      }
    }
    return found;
  }
  // What is chosen while others are on their way goes with them.
  async send(files) {
    if (this.coming) { for (const each of files) this.coming.push(each); return; }
    if (!files.length) return;
    this.coming = files;
    const bar = this.querySelector('progress'), said = this.querySelector('[role=alert]');
    const batch = [...crypto.getRandomValues(new Uint8Array(12))].map(byte => byte.toString(16).padStart(2, '0')).join('');
    let sent = 0, all = 0, counted = 0;
    const whole = () => {
      while (counted < files.length) all += files[counted++][1].size;
      return all || 1;
    };
    said.hidden = true;
    bar.hidden = false;
    try {
      for (const [number, [name, file]] of files.entries()) {
        for (let at = 0; at === 0 || at < file.size; at += PART) {
          const part = file.slice(at, at + PART);
          const query = new URLSearchParams({name, at, modified: file.lastModified});
          const answer = await fetch(`/ext/conversations/incoming/${batch}/${number}?${query}`, {method: 'POST', body: part, signal: this.leaving.signal});
          if (!answer.ok) throw new Error(await answer.text());
          bar.value = (sent += part.size) / whole();
        }
        await this.online();
      }
      const form = this.querySelector('form');
      form.elements.batch.value = batch;
      form.requestSubmit();
    } catch (error) {
      if (error.name !== 'AbortError') { said.textContent = error.message; said.hidden = false; }
    }
    this.coming = null;
    bar.hidden = true;
  }
  // Without a connection the server would never be told that all has come.
  online() {
    if (document.documentElement.dataset.uiLink === 'online') return;
    return new Promise(done => document.addEventListener('htmx:ws:after:connection', done, {once: true, signal: this.leaving.signal}));
  }
}

customElements.define('conversations-desk', Desk);
customElements.define('conversations-import', Import);
