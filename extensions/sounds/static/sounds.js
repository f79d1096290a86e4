// Rings when its number changes to another than 0; a page that is only drawn anew stays silent.
class SoundsBell extends HTMLElement {
  static observedAttributes = ['data-number'];
  attributeChangedCallback(name, before, now) {
    const {volume, away} = this.dataset;
    if (before == null || now === '0' || now === before) return;
    if (away != null && document.visibilityState === 'visible' && document.hasFocus()) return;
    const sound = new Audio('/ext/sounds/sound');
    sound.volume = Number(volume);
    sound.play().catch(() => {});                 // a browser may want a click before it lets a page sound
  }
}
customElements.define('sounds-bell', SoundsBell);
