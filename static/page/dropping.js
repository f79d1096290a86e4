// A file that is dropped where nothing takes files is not opened in the place of this page.
for (const name of ['dragover', 'drop']) on(name, event => {
  const {target, dataTransfer} = event;
  if (event.defaultPrevented || !dataTransfer?.types.includes('Files') || target.type === 'file') return;
  event.preventDefault();
  dataTransfer.dropEffect = 'none';
});
