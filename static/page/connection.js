// The connection: its address follows this page's, its state is html[data-ui-link].

let tries = 0, heard, patience, link;            // when the server last said something, how long it may not, and the socket
on('htmx:ws:before:message:incoming', ({detail}) => { heard = Date.now(); if (!detail.message.data) { detail.cancelled = true; patience = 40_000; } });
setInterval(() => {                             // a wire may die without a word; a server that lives says something every few seconds
  if (root.dataset.uiLink === 'online' && Date.now() - heard > patience) link.dispatchEvent(new CloseEvent('close', {code: 1006}));
}, 5_000);
on('htmx:ws:before:connection', ({detail}) => {
  const url = new URL('/ws', location.href);
  url.protocol = url.protocol.replace('http', 'ws');
  url.search = new URLSearchParams({path: location.pathname, told: sessionStorage.told ??= at('toasts').dataset.told});     // what all were told since follows
  detail.connection.url = url.href;
});
on('htmx:ws:after:connection', ({detail}) => {
  if (root.dataset.uiLink === 'offline') say('online');
  root.dataset.uiLink = 'online';
  delete root.dataset.uiNudge; tries = 0; heard = Date.now(); patience = 180_000; link = detail.connection.socket;
});
on('htmx:ws:close', async ({detail}) => {
  const {config} = detail.connection ?? {};
  const ended = detail.reason !== 'closed' || !config?.reconnectCodes.includes(detail.code);
  if (root.dataset.uiLink !== (root.dataset.uiLink = ended ? 'ended' : 'offline')) say(root.dataset.uiLink);
  if (++tries % 4) return;                      // perhaps the server is back and wants a sign-in
  const answer = await fetch(location.href, {method: 'HEAD', redirect: 'manual'}).catch(() => null);
  if (answer && [401, 403].includes(answer.status)) location.reload();
});
addEventListener('pageshow', ({persisted}) => { if (persisted) location.reload(); });   // its socket is closed
on('htmx:ws:before:message:outgoing', event => {  // never queue: what is sent later may surprise
  const {target, detail} = event;               // a button in a form means itself, unless it says data-with-form
  if (target.form && target.matches('button[type=button]:not([data-with-form])')) detail.message.values = JSON.parse(target.getAttribute('hx-vals') ?? '{}');
  if (root.dataset.uiLink && root.dataset.uiLink !== 'online') { event.preventDefault(); say('offline'); }
  else if (new Blob([JSON.stringify(detail.message.values)]).size > 4e6) { event.preventDefault(); notice('page-too-long'); }     // it would end the connection
  else if (target.matches('[data-leaves]') && unsaved()) {
    event.preventDefault(); notice('page-unsaved');
    if (target.matches('form:has(select)')) target.reset();
  }
});

on('click', event => {                          // offline a link would leave the page, for nothing
  const link = event.target.closest?.('a[href]');
  if (root.dataset.uiLink !== 'offline' || link?.origin !== location.origin) return;
  event.preventDefault();
  root.dataset.uiNudge = '';
  say('stay');
}, true);
