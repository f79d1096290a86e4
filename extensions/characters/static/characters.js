// The gallery: search, tags, files that are dropped. The editor: rows that come and go.
// No words in here: they stand in the templates.

const notice = detail => document.dispatchEvent(new CustomEvent('page:notice', {detail}));
const LARGEST = 40 << 20, MOST = 100;             // of one upload; the server takes 64 MB and 200 files

class Gallery extends HTMLElement {
  connectedCallback() {
    this.stop = new AbortController();
    const {signal} = this.stop, on = (name, does) => this.addEventListener(name, does, {signal});
    on('input', ({target}) => { if (target.type === 'search') this.filter(); });
    on('change', ({target}) => { if (target.type === 'file') { this.send([...target.files]); target.value = ''; } });
    on('click', ({target}) => {
      const tag = target.closest('[data-tag]');
      if (!tag) return;
      tag.dataset.uiChosen = tag.dataset.uiChosen ? '' : 'true';
      this.filter();
    });
    const page = this.closest('.page') ?? this;
    const files = event => [...event.dataTransfer?.types ?? []].includes('Files');
    page.addEventListener('dragover', event => { if (files(event)) { event.preventDefault(); this.dataset.uiOver = ''; } }, {signal});
    page.addEventListener('dragleave', event => { if (!page.contains(event.relatedTarget)) delete this.dataset.uiOver; }, {signal});
    page.addEventListener('drop', event => {
      if (!files(event)) return;
      event.preventDefault();
      delete this.dataset.uiOver;
      this.send([...event.dataTransfer.files]);
    }, {signal});
    this.watch = new MutationObserver(() => this.filter());
    this.watch.observe(this, {childList: true, subtree: true});
    this.filter();
  }
  disconnectedCallback() { this.stop.abort(); this.watch.disconnect(); }

  filter() {
    const words = (this.querySelector('input[type=search]')?.value ?? '').toLowerCase().split(/\s+/);
    const chips = [...this.querySelectorAll('[data-tag]')], wanted = chips.filter(chip => chip.dataset.uiChosen).map(chip => chip.dataset.tag);
    for (const chip of chips) chip.ariaPressed = String(Boolean(chip.dataset.uiChosen));
    let left = 0;
    for (const row of this.querySelectorAll('.characters-list > li')) {
      const text = row.textContent.toLowerCase(), tags = row.dataset.tags.split('\n');
      const fits = words.every(word => text.includes(word)) && wanted.every(tag => tags.includes(tag));
      row.toggleAttribute('data-ui-out', !fits);
      left += fits;
    }
    const none = this.querySelector('.characters-none');
    if (none && none.hidden !== left > 0) none.hidden = left > 0;
  }

  async send(files) {
    while (files.length) {
      const form = new FormData();
      for (let size = 0, many = 0; files.length && many < MOST && (!many || size + files[0].size < LARGEST); many++) {
        size += files[0].size;
        form.append('file', files.shift());
      }
      this.ariaBusy = 'true';
      await fetch('/ext/characters/import', {method: 'POST', body: form})
        .then(({ok}) => ok || notice('characters-untaken'), () => notice('page-unsent'));
    }
    this.ariaBusy = 'false';
  }
}

class Rows extends HTMLElement {
  connectedCallback() {
    this.stop = new AbortController();
    this.addEventListener('click', ({target}) => {
      const row = target.closest('[data-row]');
      if (target.closest('[data-remove]')) { row.remove(); this.querySelector('[data-add]').focus(); }
      else if (target.closest('[data-add]')) this.add();
      else return;
      this.dispatchEvent(new Event('input', {bubbles: true}));      // as if it were typed
    }, {signal: this.stop.signal});
  }
  disconnectedCallback() { this.stop.abort(); }

  add() {
    const row = this.querySelector('template').content.firstElementChild.cloneNode(true);
    const number = this.dataset.next++;
    for (const part of row.querySelectorAll('[name], [id], [for]')) {
      for (const name of ['name', 'id', 'for']) {
        if (part.hasAttribute(name)) part.setAttribute(name, part.getAttribute(name).replace('__n__', number));
      }
    }
    this.querySelector('[data-list]').append(row);
    row.querySelector('input, textarea').focus();
  }
}

customElements.define('characters-gallery', Gallery);
customElements.define('characters-rows', Rows);
