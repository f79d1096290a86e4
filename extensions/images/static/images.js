// Pictures for the next message: chosen, pasted or dropped, sent to the server one by one, shown by it.
// The box they wait in has a name made up here, which a reload keeps as it keeps a draft. No words in here.

const KEY = () => `images:${location.pathname}`;
const hasFiles = event => [...event.dataTransfer?.types ?? []].includes('Files');
const invent = () => [...crypto.getRandomValues(new Uint8Array(16))].map(byte => byte.toString(16).padStart(2, '0')).join('');

// Engines read no WebP: it becomes a PNG here, or a JPEG where that would be too large.
async function readable(file, largest) {
  if (file.type !== 'image/webp') return file;
  try {
    const picture = await createImageBitmap(file);
    const canvas = Object.assign(document.createElement('canvas'), {width: picture.width, height: picture.height});
    canvas.getContext('2d').drawImage(picture, 0, 0);
    const as = (type, quality) => new Promise(done => canvas.toBlob(done, type, quality));
    const png = await as('image/png');
    return png && png.size <= largest ? png : await as('image/jpeg', 0.92) ?? file;
  } catch { return file; }
}

customElements.define('images-waiting', class extends HTMLElement {
  connectedCallback() {
    this.leaving = new AbortController();
    const {signal} = this.leaving, composer = this.closest('chat-composer'), area = composer.closest('.chat-main') ?? composer;
    this.box ??= sessionStorage.getItem(KEY()) ?? invent();
    composer.addEventListener('click', ({target}) => {
      if (target.closest('#images-attach')) document.getElementById('images-file').click();
      if (target.closest('.images-row button')) document.getElementById('chat-text').focus();
    }, {signal});
    composer.addEventListener('change', event => {
      if (event.target.id !== 'images-file') return;
      event.stopPropagation();
      this.send([...event.target.files]);
      event.target.value = '';
    }, {signal});
    composer.addEventListener('paste', event => {
      const {files, types} = event.clipboardData;
      if (!files.length || types.includes('text/plain')) return;       // words with a picture of them are words
      event.preventDefault();
      this.send([...files]);
    }, {signal});
    const over = on => composer.toggleAttribute('data-ui-over', on);
    area.addEventListener('dragover', event => { if (hasFiles(event)) { event.preventDefault(); over(true); } }, {signal});
    area.addEventListener('dragleave', event => { if (!area.contains(event.relatedTarget)) over(false); }, {signal});
    area.addEventListener('drop', event => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      over(false);
      this.send([...event.dataTransfer.files]);
    }, {signal});
    document.addEventListener('htmx:ws:after:connection', () => this.look(), {signal});
    if (document.documentElement.dataset.uiLink === 'online') setTimeout(() => this.look());
  }
  disconnectedCallback() { this.leaving.abort(); }
  connectedMoveCallback() {}

  look() {                                                             // the server knows whose box this is
    const button = document.getElementById('images-look');
    button?.setAttribute('hx-vals', JSON.stringify({action: 'images.look', box: this.box}));
    button?.click();
  }

  async send(files) {
    const largest = Number(this.dataset.largest);
    sessionStorage.setItem(KEY(), this.box);
    this.toggleAttribute('data-ui-enclosing', true);
    for (const file of files) {
      const body = (await readable(file, largest)).slice(0, largest + 1);   // one more byte: the server says that it is too large
      await fetch(`/ext/images/waiting/${this.box}`, {method: 'POST', body}).catch(() => {});
    }
    this.toggleAttribute('data-ui-enclosing', false);
    if (matchMedia('(hover: hover)').matches) document.getElementById('chat-text').focus();   // a phone would show its keyboard
  }
});
