// What follows typing: the number beside a slider; a list that input[data-filter="id"] filters, by data-words or all that is said.
on('input', ({target}) => {
  if (target.type === 'range' && target.nextElementSibling) target.nextElementSibling.value = target.value;
  if (target.dataset?.filter) filtering(target);
});
function filtering(box, anew = false) {
  const words = box.value.toLowerCase().split(/\s+/);
  const list = at(box.dataset.filter), rows = list.querySelectorAll(list.querySelector('[data-words]') ? '[data-words]' : 'li, a, button');
  const has = (row, word) => (row.dataset.words ?? row.textContent).toLowerCase().includes(word);
  for (const row of rows) row.toggleAttribute('data-ui-out', !words.every(word => has(row, word)));
  if (box.role === 'combobox') choosing(box, list, {anew});
}
