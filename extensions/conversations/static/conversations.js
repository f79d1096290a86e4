// Two elements: <conversations-desk> lets a conversation be dragged onto a folder of the list, and
// <conversations-import> sends files in parts. Both clean up after themselves.

const PART = 4 * 2 ** 20;

class Desk extends HTMLElement {
  connectedCallback() {
    this.leaving = new AbortController();
    const {signal} = this.leaving;
    const to = event => event.target.closest?.('[data-folder]');
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
      this.mark();
      if (!folder) return;
      event.preventDefault();
      const form = this.querySelector('form');
      form.elements.conversation.value = this.dragged;
      form.elements.folder.value = folder.dataset.folder;
      form.requestSubmit();
    }, {signal});
    document.addEventListener('dragend', () => { this.mark(); this.dragged = null; }, {signal});
  }
  disconnectedCallback() { this.leaving.abort(); }
  connectedMoveCallback() {}
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
  async send(files) {
    if (!files.length || this.sending) return;
    const bar = this.querySelector('progress'), said = this.querySelector('[role=alert]');
    const batch = [...crypto.getRandomValues(new Uint8Array(12))].map(byte => byte.toString(16).padStart(2, '0')).join('');
    const whole = files.reduce((sum, [, file]) => sum + file.size, 0) || 1;
    let sent = 0;
    this.sending = true;
    said.hidden = true;
    bar.hidden = false;
    try {
      for (const [number, [name, file]] of files.entries()) {
        for (let at = 0; at === 0 || at < file.size; at += PART) {
          const part = file.slice(at, at + PART);
          const query = new URLSearchParams({name, at});
          const answer = await fetch(`/ext/conversations/incoming/${batch}/${number}?${query}`, {method: 'POST', body: part, signal: this.leaving.signal});
          if (!answer.ok) throw new Error(await answer.text());
          bar.value = (sent += part.size) / whole;
        }
      }
      const form = this.querySelector('form');
      form.elements.batch.value = batch;
      form.requestSubmit();
    } catch (error) {
      if (error.name !== 'AbortError') { said.textContent = error.message; said.hidden = false; }
    }
    this.sending = false;
    bar.hidden = true;
  }
}

customElements.define('conversations-desk', Desk);
customElements.define('conversations-import', Import);
