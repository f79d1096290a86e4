// Links to where we are, in lists that are the same for every page.
const here = () => {
  const [first] = document.querySelectorAll('#rail a[href]'), {pathname} = location;
  const path = pathname === '/' && first ? first.pathname : pathname;
  // What lies below a section of a tab, as /models/downloader/user/model does, is in that section.
  for (const link of document.querySelectorAll('#rail a[href], [data-here] a[href]')) {
    const holds = link.closest('#rail') || link.pathname.indexOf('/', 1) > 0;
    link.ariaCurrent = path === link.pathname || (holds && path.startsWith(`${link.pathname}/`)) ? 'page' : null;
    if (link.ariaCurrent && link.closest('#rail') && !document.querySelector('[data-secret]')) sessionStorage[`at:${link.pathname}`] = path;
  }
};
// Only when a swap has to do with such a list: in a long chat, looking through the page 60 times a second costs.
const lists = ({target, fragment}) => target?.closest?.('[data-here]') || fragment?.querySelector?.('[data-here]');
on('htmx:before:swap', ({detail: {ctx, tasks}}) => { ctx.links = tasks.some(lists); });
on('htmx:after:swap', ({detail: {ctx}}) => { if (ctx.links) here(); });
on('DOMContentLoaded', () => { here(); document.querySelector('.strip [aria-current]')?.scrollIntoView({inline: 'center', block: 'nearest'}); });
on('click', event => {                          // another tab opens where it was left
  const link = event.target.closest?.('#rail a'), left = sessionStorage[`at:${link?.pathname}`];
  if (left && !link.ariaCurrent && !event.defaultPrevented && !event.ctrlKey && !event.metaKey && !event.shiftKey) { event.preventDefault(); location.href = left; }
});
// What the server tells the page as a whole: its new address, its theme.
on('htmx:ws:after:message:incoming', () => {
  const {path} = at('page-go').dataset, {theme} = at('page-theme').dataset;
  if (path) { history.replaceState(null, '', path); delete at('page-go').dataset.path; here(); }
  if (theme !== (root.dataset.theme ?? '')) theme ? root.dataset.theme = theme : delete root.dataset.theme;
});
