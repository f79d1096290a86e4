// A morph sets attributes; a box that was clicked no longer heeds them, so hand on what changed.
htmx.registerExtension('page', {
  htmx_before_morph_node(element, {oldNode, newNode}) {
    if (oldNode.tagName !== newNode.tagName) return;
    if (oldNode === asked) queueMicrotask(lead);
    if (kept(oldNode, newNode)) return false;
    if (newNode.matches?.('form[data-again]')) queueMicrotask(() => { oldNode.reset(); delete oldNode.dataset.uiDirty; if (oldNode.contains(document.activeElement)) oldNode.elements[1].focus(); });   // for the next
    const edit = oldNode.dataset?.uiEdit != null && drawn(oldNode);                                  // it goes on
    if (edit) newNode.querySelector(':scope > template')?.after(edit.cloneNode(true));
    if (oldNode.tagName === 'INPUT' && oldNode.defaultChecked !== newNode.defaultChecked) oldNode.checked = newNode.defaultChecked;
    const chosen = select => [...select.options].find(option => option.defaultSelected)?.value;
    const {value} = newNode, refused = oldNode.ariaInvalid && !newNode.ariaInvalid && oldNode !== document.activeElement;       // now: a new option moves over to the old list
    if (refused || oldNode.tagName === 'SELECT' && chosen(oldNode) !== chosen(newNode)) queueMicrotask(() => { oldNode.value = value; });
  },
});
