// Until the scripts of extensions and htmx have begun nobody answers: what is pressed before is pressed then.
const early = new Map(), begins = {click: 'button, a[hx-ws\\:send], input[hx-ws\\:send]', change: 'input, select, textarea', submit: 'form'};
const keep = event => {
  const what = event.target.closest?.(begins[event.type]), meant = what?.type === 'submit' && what.form || what;   // a form is sent once
  if (!what || what.matches('a') && (event.ctrlKey || event.metaKey || event.shiftKey)) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  early.delete(meant);
  early.set(meant, [what, event.type]);
};
for (const name in begins) on(name, keep, true);
addEventListener('DOMContentLoaded', () => {     // of the window: after all of the document's
  for (const name in begins) document.removeEventListener(name, keep, true);
  const press = {click: what => what.click(), change: what => what.dispatchEvent(new Event('change', {bubbles: true})), submit: what => what.requestSubmit()};
  for (const [what, name] of early.values()) press[name](what);
});
