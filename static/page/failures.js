// A script of an extension fails: the server is told at most every ten seconds, its card says it.
const failing = new Set(), untold = [];
const owner = address => /\/ext\/(\w+)\/static\//.exec(address ?? '')?.[1];
const failed = (where, text, line = 0) => {
  const id = owner(where);
  if (!id || failing.has(id)) return;
  failing.add(id); setTimeout(() => failing.delete(id), 10_000);
  untold.push({action: 'kernel.script_failed', id, text: String(text), line});
  if (root.dataset.uiLink === 'online') tell();
};
const tell = () => untold.splice(0).forEach(said => { at('page-failed').setAttribute('hx-vals', JSON.stringify(said)); at('page-failed').click(); });
addEventListener('error', ({filename, message, lineno}) => failed(filename, message, lineno));
addEventListener('unhandledrejection', ({reason}) => failed(reason?.stack, reason));
on('htmx:ws:after:connection', tell);
