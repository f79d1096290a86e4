// Links to where we are, in lists that are the same for every page.

const here = () => {
  const [, tab] = location.pathname.split('/');
  for (const link of document.querySelectorAll('#rail a[href]')) {
    if (!tab) continue;                         // the first one, as the server has it
    if (link.pathname === `/${tab}`) link.ariaCurrent = 'page';
    else link.removeAttribute('aria-current');
  }
  // What lies below a section of a tab, as /models/downloader/user/model does, is in that section.
  const within = path => location.pathname === path || (path.indexOf('/', 1) > 0 && location.pathname.startsWith(`${path}/`));
  for (const link of document.querySelectorAll('[data-here] a[href]')) {
    if (within(link.pathname)) link.ariaCurrent = 'page';
    else link.removeAttribute('aria-current');
  }
};
// Only when a swap has to do with such a list: in a long chat, looking through the page 60 times a second costs.
on('htmx:before:swap', ({detail: {ctx, tasks}}) => {
  const lists = ({target, fragment}) => target?.closest?.('[data-here]') || fragment?.querySelector?.('[data-here]');
  ctx.links = tasks.some(lists);
});
on('htmx:after:swap', ({detail: {ctx}}) => { if (ctx.links) here(); });
on('DOMContentLoaded', () => {
  here();
  document.querySelector('.strip [aria-current]')?.scrollIntoView({inline: 'center', block: 'nearest'});
});

// What the server tells the page as a whole: its new address, its theme.
on('htmx:ws:after:message:incoming', () => {
  const {path} = at('page-go').dataset, {theme} = at('page-theme').dataset;
  if (path) { history.replaceState(null, '', path); delete at('page-go').dataset.path; here(); }
  if (theme !== (root.dataset.theme ?? '')) theme ? root.dataset.theme = theme : delete root.dataset.theme;
});
