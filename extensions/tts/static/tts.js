// Plays the clips that the server appends, one after the other; a clip of a newer text ends the older.
// The page has a word for itself: who lost the connection is known by it again, and told of the clips once more.
// A browser may refuse to play before a click in the page: then the button asks for one.

customElements.define('tts-player', class extends HTMLElement {
  connectedCallback() {
    this.audio = new Audio();
    this.queue = [];
    this.text = 0;
    this.word ??= [...crypto.getRandomValues(new Uint8Array(16))].map(byte => byte.toString(16).padStart(2, '0')).join('');
    this.leaving = new AbortController();
    const {signal} = this.leaving;
    this.audio.addEventListener('ended', () => this.next(), {signal});
    this.audio.addEventListener('error', () => this.next(), {signal});
    this.addEventListener('click', ({target}) => {
      const does = target.closest('[data-tts]')?.dataset.tts;
      if (does === 'stop') this.stop();
      if (does === 'play') this.play();
    }, {signal});
    document.addEventListener('htmx:ws:after:connection', () => this.listen(), {signal});
    this.watch = new MutationObserver(() => this.take());
    this.watch.observe(this, {childList: true, subtree: true});
    this.take();
  }

  disconnectedCallback() {
    this.watch.disconnect();
    this.leaving.abort();
    this.stop();
  }

  listen() {
    const button = this.querySelector('#tts-listen');
    button?.setAttribute('hx-vals', JSON.stringify({action: 'tts.listen', word: this.word}));
    button?.click();
  }

  take() {
    for (const node of this.querySelectorAll('[data-text]')) {
      const {clip, text} = node.dataset;
      node.remove();
      if (Number(text) < this.text) continue;      // of a text that was left
      if (Number(text) > this.text) { this.stop(); this.text = Number(text); this.stopped = false; this.listen(); }
      if (this.stopped || !clip || this.queue.includes(clip) || this.audio.src.endsWith(clip)) continue;
      this.queue.push(clip);
    }
    if (this.queue.length && !this.busy) this.next();
  }

  next() {
    this.busy = this.queue.length > 0;
    this.show('stop', this.busy);
    if (!this.busy) return;
    this.audio.src = this.queue.shift();
    this.play();
  }

  async play() {
    this.show('play', false);
    this.show('stop', true);
    try { await this.audio.play(); } catch (refused) {
      if (refused.name !== 'NotAllowedError') return;
      this.show('play', true);
      this.show('stop', false);
    }
  }

  stop() {
    this.queue = [];
    this.stopped = true;
    this.busy = false;
    this.audio.pause();
    this.audio.removeAttribute('src');
    this.show('stop', false);
    this.show('play', false);
  }

  show(name, on) { this.querySelector(`[data-tts=${name}]`)?.toggleAttribute('hidden', !on); }
});
