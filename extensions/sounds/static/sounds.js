// Rings when its number changes to another than 0; a page that is only drawn anew stays silent.
// Of several tabs that show the conversation the first one rings.
class SoundsBell extends HTMLElement {
  static observedAttributes = ['data-number'];
  attributeChangedCallback(name, before, now) {
    const {volume, away} = this.dataset;
    if (before == null || now === '0' || now === before) return;
    if (away != null && document.visibilityState === 'visible' && document.hasFocus()) return;
    const ring = async () => {
      const sound = new Audio('/ext/sounds/sound');
      sound.volume = Number(volume);
      await sound.play().catch(() => {});         // a browser may want a click before it lets a page sound
      await new Promise(resolve => setTimeout(resolve, 1000));
    };
    if (!navigator.locks) ring();                 // which are there at https and on this machine alone
    else navigator.locks.request('sounds', {ifAvailable: true}, lock => lock && ring());
  }
}
customElements.define('sounds-bell', SoundsBell);
