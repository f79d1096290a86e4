// data-copy copies what it names, or the code that it stands over.
async function copying(source, button) {
  const text = (source.content?.querySelector('textarea') ?? source).value ?? source.textContent;
  try { await navigator.clipboard.writeText(text); } catch {          // not over plain http
    const box = document.createElement('textarea');
    (button.closest('dialog') ?? document.body).append(box);          // beside an open dialog nothing can be selected
    box.value = text; box.select();
    const copied = document.execCommand('copy');
    box.remove(); button.focus();
    if (!copied) return;
  }
  button.dataset.uiDone = ''; say('copied'); setTimeout(() => delete button.dataset.uiDone, 1500);
}
