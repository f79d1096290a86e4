// A list put in order by dragging a .handle; its button[data-order] sends `id` and `to`.
on('pointerdown', down => {
  const item = down.target.closest?.('.handle')?.closest('[data-item]');
  if (!item) return;
  down.preventDefault();
  const list = item.parentNode, first = [...list.children].indexOf(item);
  item.toggleAttribute('data-ui-drag', true);
  const move = ({clientY}) => {                 // the others move around it, so that the touch goes on
    const {previousElementSibling: before, nextElementSibling: after} = item;
    const middle = other => { const box = other.getBoundingClientRect(); return box.top + box.height / 2; };
    if (before?.matches('[data-item]') && clientY < middle(before)) item.after(before);
    else if (after?.matches('[data-item]') && clientY > middle(after)) item.before(after);
  };
  const drop = ({type}) => {
    item.removeAttribute('data-ui-drag');
    for (const name of ['pointermove', 'pointerup', 'pointercancel']) document.removeEventListener(name, name === 'pointermove' ? move : drop);
    const to = [...list.children].indexOf(item), order = list.parentNode.querySelector('[data-order]');
    if (type === 'pointercancel') return list.insertBefore(item, [...list.children].filter(other => other !== item)[first]);
    if (to === first) return;
    order.setAttribute('hx-vals', JSON.stringify({...JSON.parse(order.getAttribute('hx-vals')), id: item.dataset.item, to}));
    order.click();
  };
  on('pointermove', move); on('pointerup', drop); on('pointercancel', drop);
});
