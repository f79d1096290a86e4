// Whoever has the focus in a row that goes away is taken to the one beside it, or to the first of the list.
let row, beside, list;
on('htmx:before:swap', () => { row = document.activeElement?.closest('.entry'); beside = row?.nextElementSibling ?? row?.previousElementSibling; list = row?.closest('nav'); });
on('htmx:after:swap', () => { if (row && !row.isConnected && document.activeElement === document.body) (beside?.isConnected ? beside : list)?.querySelector('a, button')?.focus(); });
