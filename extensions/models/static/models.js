// The Model tab: files and folders that are dropped onto any section of it, or chosen, are sent piece by piece.
// No words in here: they stand in the templates.

const unsent = () => document.dispatchEvent(new CustomEvent('page:notice', {detail: 'page-unsent'}));
const PIECE = 16 << 20, AT = '/ext/models/uploads', TRIES = 5;

class Drop extends HTMLElement {
  connectedCallback() {
    this.stop = new AbortController();
    const {signal} = this.stop;
    const files = event => [...event.dataTransfer?.types ?? []].includes('Files');
    this.addEventListener('dragover', event => { if (files(event)) { event.preventDefault(); this.dataset.uiOver = ''; } }, {signal});
    this.addEventListener('dragleave', event => { if (!this.contains(event.relatedTarget)) delete this.dataset.uiOver; }, {signal});
    this.addEventListener('drop', event => {
      if (!files(event)) return;
      event.preventDefault();
      delete this.dataset.uiOver;
      for (const item of event.dataTransfer.items) {
        const entry = item.webkitGetAsEntry?.(), file = item.getAsFile();
        if (entry?.isDirectory) this.walk(entry).then(found => this.send(found));
        else if (file) this.send([{path: file.name, file}]);
      }
    }, {signal});
    this.addEventListener('change', ({target}) => {
      if (!target.closest('.models-drop')) return;
      const chosen = [...target.files].map(file => ({path: file.webkitRelativePath || file.name, file}));
      target.value = '';
      if (target.webkitdirectory) this.send(chosen); else for (const each of chosen) this.send([each]);
    }, {signal});
    // A picker that a button of this page opens shows what that chose: its row, and how it is loaded.
    let wanted;
    this.addEventListener('click', ({target}) => {
      const button = target.closest('[data-open="models-picker"]');
      if (button) wanted = JSON.parse(button.getAttribute('hx-vals') ?? '{}').file;
    }, {signal});
    document.addEventListener('htmx:after:swap', () => {
      const picker = document.getElementById('models-picker'), load = picker?.querySelector('.load');
      if (!wanted || load?.querySelector('h3').textContent !== wanted) return;
      wanted = '';
      for (const part of [picker.querySelector('.file[aria-pressed=true]'), load]) part?.scrollIntoView({block: 'nearest'});
    }, {signal});
  }
  disconnectedCallback() { this.stop.abort(); }       // what is on its way goes on

  async walk(entry) {                                  // all files below it, with their paths
    if (entry.isFile) return [{path: entry.fullPath.slice(1), file: await new Promise((done, no) => entry.file(done, no))}];
    const reader = entry.createReader(), found = [];
    for (;;) {                                         // it gives a hundred at a time
      const some = await new Promise((done, no) => reader.readEntries(done, no));
      if (!some.length) return found.flat();
      for (const each of some) found.push(await this.walk(each));
    }
  }

  async send(all) {
    const files = all.filter(({path}) => !path.split('/').some(part => part.startsWith('.')));
    if (!files.length) return;
    const body = JSON.stringify({files: files.map(({path, file}) => ({path, size: file.size}))});
    const answer = await fetch(AT, {method: 'POST', body}).catch(unsent);
    if (answer?.status !== 201) return;
    const id = await answer.text();
    for (const [number, {file}] of files.entries()) if (!await this.pieces(`${AT}/${id}/${number}`, file)) return;
  }

  async pieces(address, file) {                        // says whether all of it arrived
    for (let at = 0, tries = 0; at < file.size;) {
      const piece = file.slice(at, at + PIECE);
      const answer = await fetch(`${address}?at=${at}`, {method: 'PUT', body: piece}).catch(() => null);
      if (answer?.ok) { at += piece.size; tries = 0; continue; }
      if (answer && answer.status !== 409 && answer.status !== 400 || ++tries > TRIES) { if (!answer) unsent(); return false; }
      if (!answer || answer.status === 400) { await new Promise(done => setTimeout(done, 1000 * tries)); continue; }
      const there = Number(await answer.text());       // where the server is
      if (!Number.isInteger(there)) return false;
      at = there;
    }
    return true;
  }
}

customElements.define('models-drop', Drop);
