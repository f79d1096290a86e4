// A palette: the buttons and links of its list are options; the keys stay in the box, Enter presses the chosen one.
let option = '';                                 // the words of the chosen one: its list may be drawn anew, with others in it
function choosing(box, list, {step = 0, anew = false} = {}) {
  const rows = [...list.querySelectorAll('a, button')], shown = rows.filter(row => row.checkVisibility());
  const selected = shown.findIndex(row => row.ariaSelected === 'true');
  const was = selected < 0 && anew ? shown.findIndex(row => row.textContent === option) : selected;
  const chosen = step ? shown.at((was + step) % shown.length) : shown[anew ? Math.max(was, 0) : 0];
  option = chosen?.textContent;
  rows.forEach((row, n) => Object.assign(row, {id: `${list.id}-${n}`, role: 'option', tabIndex: -1, ariaSelected: row === chosen}));
  box.setAttribute('aria-activedescendant', chosen?.id ?? '');
  chosen?.scrollIntoView({block: 'nearest'});
}
on('keydown', event => {
  const box = event.target.closest?.('[role=combobox]'), step = {ArrowDown: 1, ArrowUp: -1}[event.key];
  if (!box || composing(event) || !step && event.key !== 'Enter') return;
  event.preventDefault();
  step ? choosing(box, at(box.dataset.filter), {step}) : at(box.getAttribute('aria-activedescendant'))?.click();
});
on('click', ({target}) => { if (target.closest('[role=option]')) target.closest('dialog')?.close(); }, true);
on('close', ({target}) => { const box = target.querySelector('[role=combobox]'); if (box) box.value = option = ''; if (target.contains(at('toasts'))) above(at('toasts'), document.body); }, true);
on('htmx:after:swap', () => { const box = document.activeElement; if (box?.role === 'combobox') filtering(box, true); });
