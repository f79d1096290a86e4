// <parameters-file>: a chosen file goes to the server as text, by the button beside it.

customElements.define('parameters-file', class extends HTMLElement {
  connectedCallback() { this.addEventListener('change', this); }
  disconnectedCallback() { this.removeEventListener('change', this); }
  async handleEvent({target}) {
    const [file] = target.files, button = this.querySelector('button');
    if (!file) return;
    const text = (await file.slice(0, 1 << 20).text());
    const name = file.name.replace(/\.[^.]*$/, '');
    button.setAttribute('hx-vals', JSON.stringify({...JSON.parse(button.dataset.vals), name, text}));
    button.click();
    target.value = '';
  }
});
