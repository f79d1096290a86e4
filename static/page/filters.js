// What follows typing: the number beside a slider, a list that input[data-filter="id"] filters.

on('input', ({target}) => {
  if (target.type === 'range' && target.nextElementSibling) target.nextElementSibling.value = target.value;
  if (target.dataset?.filter) filtering(target);
});
function filtering(box, anew = false) {
  const words = box.value.toLowerCase().split(/\s+/);
  for (const row of at(box.dataset.filter).querySelectorAll('li, a, button')) {
    row.toggleAttribute('data-ui-out', !words.every(word => row.textContent.toLowerCase().includes(word)));
  }
  if (box.role === 'combobox') choosing(box, at(box.dataset.filter), {anew});
}
