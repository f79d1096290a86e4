// What is sent as it changes and was not taken: a choice goes back to what holds, words are sent when the server is back.
const late = new Set(), lost = new Set();        // fields that nobody has answered yet, and those that nobody will
on('htmx:ws:close', () => { late.forEach(field => lost.add(field)); late.clear(); });
let changed; on('change', ({target}) => { changed = target; }, true);
const changes = target => target === changed || target.contains(changed) && /change/.test(target.getAttribute('hx-trigger'));
on('htmx:ws:after:message:outgoing', ({target}) => { if (changes(target)) late.add(changed); });
const words = field => field.matches('textarea, input:not([type=checkbox], [type=radio], [type=range])');
function holds(field) {
  const was = field.value + field.checked;
  for (const each of field.type === 'radio' ? field.form.querySelectorAll('[type=radio]') : [field]) {
    for (const option of each.options ?? []) option.selected = option.defaultSelected;
    each.checked = each.defaultChecked;
    if (each.defaultValue != null) each.value = each.defaultValue;
  }
  field.dispatchEvent(new Event('input', {bubbles: true}));
  if (field.value + field.checked !== was) notice('page-unchanged');
}
function offline(target) {
  if (!changes(target)) return say('offline');
  lost.add(changed);
  if (words(changed)) notice('page-later'); else holds(changed);
}
const resume = () => [...lost].sort((one, other) => words(one) - words(other)).filter(field => lost.delete(field) && field.isConnected)
  .forEach(field => words(field) ? field.dispatchEvent(new Event('change', {bubbles: true})) : holds(field));     // words go with what else holds
