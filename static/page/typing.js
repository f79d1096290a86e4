// Who types has html[data-ui-typing], by which a phone makes room; as late as a tap needs, whose place must not move away.
const types = () => root.toggleAttribute('data-ui-typing', !!document.activeElement?.matches('textarea, input:not([type=checkbox], [type=radio], [type=range], [type=button])'));
for (const name of ['focusin', 'focusout']) on(name, () => setTimeout(types, 300));
