// One listener for clicks: data-open, data-close, data-edit, data-copy, data-press, data-dismiss.
let down, opener;                               // what the pointer came down on, and what opened a dialog
on('pointerdown', ({target}) => { down = target; }, true);
on('click', ({target}) => {
  const dialog = target instanceof HTMLDialogElement && target === down && target;       // its backdrop
  const button = target.closest?.('[data-open], [data-close], [data-edit], [data-copy], [data-press], [data-dismiss]');
  if (dialog) dialog.close();
  if (!button) return;
  const {open, edit, copy, press} = button.dataset;
  if (open != null) { opener = button; if (!at(open)?.open) at(open)?.showModal(); }
  if (!sending(button)) leaving(button);
  if (edit != null) editing(button.closest('[data-editable]'), edit !== 'end');
  if (copy != null) copying(copy ? at(copy) : button.closest('.code').querySelector('pre'), button);
  if (press != null) setTimeout(() => at(press)?.click());         // after its palette has closed
});
on('close', () => setTimeout(() => { if (document.activeElement === document.body) opener?.closest('.entry')?.querySelector('a')?.focus(); }), true);   // its button may be out of sight
on('toggle', ({target, newState}) => {
  if (newState === 'open' && target.matches('.pop')) target.scrollTop = 0;     // not where it was left
  if (newState === 'closed') for (const part of target.querySelectorAll('[data-ui-edit]')) editing(part, false);
}, true);
// What sends something closes its dialog, or dismisses its notice, once that was sent: offline nothing is lost.
const sending = button => button.matches('[hx-ws\\:send], [hx-ws\\:send] :not([type=button])');
function leaving(button) {
  const {close, dismiss} = button.dataset;
  if (close != null) button.closest('dialog, [popover]')?.[button.closest('dialog') ? 'close' : 'hidePopover']();
  if (dismiss != null) button.closest('.toast')?.remove();
}
on('htmx:ws:after:message:outgoing', ({target}) => leaving((target.matches('form') && target.querySelector('[data-close]:not([type=button])')) || target));
on('click', event => { if (event.target.closest?.('a[hx-ws\\:send]') && !event.ctrlKey && !event.metaKey) event.preventDefault(); });
