// What is [data-editable] is edited in its own place, with data-ui-edit, until it is sent or left.
function editing(part, start) {
  if (!part) return;
  part.toggleAttribute('data-ui-edit', start);
  const form = part.querySelector(':scope > template');         // a form in each of thousands would cost
  if (form && start && !drawn(part)) { form.after(form.content.cloneNode(true)); bring(part); htmx.process(part); }
  const field = part.querySelector('form :is(textarea, input:not([type=hidden]))');
  if (start) { field.focus(); field.setSelectionRange(field.type === 'textarea' ? field.value.length : 0, field.value.length); return; }
  if (form) drawn(part)?.remove(); else field.form.reset();
  part.querySelector('[data-edit]:not([data-edit=end])')?.focus();
}
const drawn = part => part.querySelector(':scope > template + [data-form]');
on('htmx:ws:after:message:outgoing', ({target}) => {
  const part = target.closest('[data-ui-edit]'), within = part?.contains(document.activeElement);
  part?.removeAttribute('data-ui-edit'); if (within) part.querySelector('[data-edit]:not([data-edit=end])')?.focus();
});
