// What extensions bring: #page-assets names the styles there are, and the script that each waits with.
let styles, scripts, brought;
on('DOMContentLoaded', () => {
  ({styles, scripts} = at('page-assets').dataset);
  brought = new Set([...document.scripts].map(script => owner(script.src)));
});
// A script comes with the first element <id-…> of its own, once: what it defined stays until the page is loaded anew.
function bring(part) {
  for (const {localName} of part?.querySelectorAll?.(':not(:defined)') ?? []) {
    const [id] = localName.split('-'), [, src] = brought.has(id) ? [] : scripts.match(`(?:^| )${id}:(/ext/${id}/static/\\S+)`) ?? [];
    if (!src) continue;
    brought.add(id);
    const script = Object.assign(document.createElement('script'), {type: 'module', src});
    script.onerror = () => brought.delete(id); document.head.append(script);              // it may not arrive
  }
}
on('htmx:before:swap', ({detail: {tasks}}) => { for (const {fragment} of tasks) bring(fragment); });
// The old styles go when the new ones are there, so that no part of the page is ever without.
async function dress(wanted) {
  const links = () => [...document.head.querySelectorAll('link[data-style]')], is = link => link.getAttribute('href');
  const come = wanted.filter(href => !links().some(link => is(link) === href)).map(href => new Promise(done => {
    const link = Object.assign(document.createElement('link'), {rel: 'stylesheet', href, onload: done, onerror: done});
    link.dataset.style = ''; document.head.append(link);
  }));
  await Promise.all(come);
  if (wanted.join(' ') === styles) for (const link of links()) if (!wanted.includes(is(link))) link.remove();
}
on('htmx:ws:after:message:incoming', () => {
  const now = at('page-assets').dataset;
  if (now.styles !== styles) dress((styles = now.styles).split(' '));
  if (now.scripts !== scripts) { ({scripts} = now); bring(document); }
});
