// The connection: its address follows this page's, its state is html[data-ui-link]; by its own name a page comes back as it was.
let page = crypto.getRandomValues(new Uint32Array(3)).join('-'), tries = 0, heard, patience, link;        // heard: when, patience: how long it may be silent
on('htmx:ws:before:message:incoming', ({detail}) => {
  heard = Date.now();
  if (!detail.message.data) { detail.cancelled = true; if (patience > 40_000) resume(); patience = 40_000; }    // the page has all that it shows
  else late.clear();
});
const again = () => { clearTimeout(link.timer); link.attempt = 0; link.socket.dispatchEvent(new CloseEvent('close', {code: 1006})); };
// A wire may die without a word; a server that lives says something every few seconds.
setInterval(() => { if (root.dataset.uiLink === 'online' && Date.now() - heard > patience) again(); }, 5_000);
for (const name of ['visibilitychange', 'online', 'pageshow']) addEventListener(name, ({persisted}) => {      // after a sleep or a tunnel
  const {uiLink} = root.dataset, was = heard;
  if (persisted) location.reload();             // its socket is closed
  else if (document.hidden || !link) return;
  else if (uiLink === 'offline' && (link.socket.readyState || Date.now() - link.began > 3_000)) again();
  else if (uiLink === 'online' && patience === 40_000 && Date.now() - was > 15_000) setTimeout(() => { if (heard === was) again(); }, 3_000);
});
on('htmx:ws:before:connection', ({detail}) => {
  link = detail.connection; link.began = Date.now();
  const url = new URL('/ws', location.href.replace('http', 'ws'));
  url.search = new URLSearchParams({path: location.pathname, page, told: sessionStorage.told ??= at('toasts').dataset.told});     // what all were told since follows
  detail.connection.url = url.href;
});
on('htmx:ws:after:connection', () => {
  if (root.dataset.uiLink === 'offline') say('online');
  root.dataset.uiLink = 'online'; delete root.dataset.uiNudge; tries = 0; heard = Date.now(); patience = 180_000;
});
on('htmx:ws:close', async ({detail}) => {
  const ended = detail.reason !== 'closed' || !detail.connection?.config?.reconnectCodes.includes(detail.code);
  if (root.dataset.uiLink !== (root.dataset.uiLink = ended ? 'ended' : 'offline')) say(root.dataset.uiLink);
  if (++tries % 4) return;                      // perhaps the server is back and wants a sign-in
  const answer = await fetch(location.href, {method: 'HEAD', redirect: 'manual'}).catch(() => null);
  if (answer && [401, 403].includes(answer.status)) location.reload();
});
on('htmx:ws:before:message:outgoing', event => {  // never queue: what is sent later may surprise
  const {target, detail} = event;               // a button in a form means itself, unless it says data-with-form
  if (target.form && target.matches('button[type=button]:not([data-with-form])')) detail.message.values = JSON.parse(target.getAttribute('hx-vals') ?? '{}');
  if (root.dataset.uiLink && root.dataset.uiLink !== 'online') { event.preventDefault(); offline(target); }
  else if (new Blob([JSON.stringify(detail.message.values)]).size > 4e6) { event.preventDefault(); notice('page-too-long'); }     // it would end the connection
  else if (target.matches('[data-leaves]') && unsaved()) { event.preventDefault(); notice('page-unsaved'); if (target.matches('form:has(select)')) target.reset(); }
});
on('click', event => {                          // offline a link would leave the page, for nothing
  const link = event.target.closest?.('a[href]');
  if (root.dataset.uiLink !== 'offline' || link?.origin !== location.origin) return;
  event.preventDefault(); root.dataset.uiNudge = ''; say('stay');
}, true);
