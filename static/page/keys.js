// Keys: data-key="/" focuses a field, data-key="Escape" presses a button; "Mod+k" is with Ctrl or Command. Arrows are for what has the focus.
root.toggleAttribute('data-ui-apple', /Mac|iP/.test(navigator.platform));
const pressed = ({key, ctrlKey, metaKey, altKey, shiftKey}) => !(ctrlKey || metaKey || altKey) ? key :
  (ctrlKey || metaKey ? 'Mod+' : '') + (altKey ? 'Alt+' : '') + (shiftKey ? 'Shift+' : '') + (key.length === 1 ? key.toLowerCase() : key);
const composing = ({isComposing, keyCode}) => isComposing || keyCode === 229;    // Safari's key that ends it has only the code
on('keydown', event => {
  if (composing(event) || event.getModifierState?.('AltGraph')) return;
  const {target, key} = event, name = pressed(event);
  const typing = target.closest?.('input, textarea, select, [contenteditable]');
  const open = document.querySelector('dialog[open], :popover-open:not(#toasts)');
  if (open && open !== document.querySelector(`[data-key="${CSS.escape(name)}"]`)?.popoverTargetElement) return;     // it closes what it opened
  const part = target.closest?.('[data-ui-edit]');
  if (key === 'Escape' && part) return editing(part, false);
  if (typing && (name === key && key !== 'Escape' || part && /Enter|Backspace/.test(key))) return;
  const free = !event.shiftKey && target.matches('body, [tabindex="-1"], [data-arrows]');     // Shift selects text
  if (/^Arrow/.test(name) && !free) return;
  const wants = document.querySelector(`[data-key="${CSS.escape(name)}"]:not(:disabled)`);
  if (!wants) return;
  event.preventDefault();
  if (!event.repeat) wants instanceof HTMLButtonElement ? wants.click() : wants.focus();
});
