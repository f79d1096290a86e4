// Toasts: above everything, gone after seconds that count while the page is seen and they are not held; three at most.
const notice = id => at('toasts').append(at(id).content.querySelector('.toast').cloneNode(true));      // in the words of a template
on('page:notice', ({detail}) => notice(detail));
const held = toast => toast.matches(':hover, :focus-within');
const leave = (toast, seconds) => !seconds || !toast.isConnected ? toast.remove()
  : setTimeout(leave, 1000, toast, document.hidden || held(toast) ? Math.max(seconds, 2) : seconds - 1);
const watching = new MutationObserver(changes => {
  for (const toast of changes.flatMap(({addedNodes}) => [...addedNodes]).filter(node => node instanceof Element)) {
    if (Number(toast.id.slice(6))) sessionStorage.told = toast.id.slice(6);                 // a notice of a template has no number
    leave(toast, toast.matches('.error, :has([hx-ws\\:send])') ? 20 : 7);
    if (toast.matches('.error')) unsend();
  }
  const all = at('toasts'), free = [...all.children].filter(toast => !held(toast));
  while (all.childElementCount > 3 && free.length > 1) free.shift().remove();
  above(all);
});
// A dialog makes all outside of it dead to clicks, so they stand in the one that is open; a swap in there must not take them along.
function above(all, home = [...document.querySelectorAll('dialog:modal')].at(-1) ?? document.body) {
  if (all.matches(':popover-open')) all.hidePopover(); if (all.parentNode !== home) home.append(all);
  if (all.firstElementChild) all.showPopover();          // again, to lie above what was opened since
}
on('htmx:before:swap', ({detail: {tasks}}) => {
  const dialog = at('toasts').closest('dialog'), meets = ({target}) => target instanceof Node && (dialog.contains(target) || target.contains(dialog));
  if (dialog && tasks.some(meets)) above(at('toasts'), document.body);
});
on('htmx:after:swap', () => { if (at('toasts').firstElementChild && document.querySelector('dialog:modal') && !at('toasts').closest('dialog')) above(at('toasts')); });
on('DOMContentLoaded', () => watching.observe(at('toasts'), {childList: true}));
