// Who sends a form by a button or Enter is led to the first box in which something is wrong, when it is drawn anew.
let asked;
on('submit', ({target}) => { asked = target; });
on('click', ({target}) => { asked = target.closest?.('[data-with-form]')?.form ?? asked; });
on('input', () => { asked = null; });
const lead = () => { const wrong = asked?.querySelector('[aria-invalid=true]'); if (wrong) { wrong.focus(); asked = null; } };
