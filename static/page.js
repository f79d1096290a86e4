// What the page does by itself, everywhere; extensions bring custom elements of their own.
// State of the page alone lives in data-ui-* attributes, which a morph leaves as they are.
// No words in here: they stand in the templates. It runs in the head of the page, before there is a body.

'use strict';
{                                                // the names of a plain script are everybody's
const root = document.documentElement;
const at = id => document.getElementById(id);
const on = (name, does, options) => document.addEventListener(name, does, options);

// --- until the scripts of extensions and htmx have begun nobody answers: what is pressed before is pressed then ---

const early = new Map(), begins = {click: 'button, a[hx-ws\\:send], input[hx-ws\\:send]', change: 'input, select, textarea', submit: 'form'};
const keep = event => {
  const what = event.target.closest?.(begins[event.type]), meant = what?.type === 'submit' && what.form || what;   // a form is sent once
  if (!what || what.matches('a') && (event.ctrlKey || event.metaKey || event.shiftKey)) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  early.delete(meant);
  early.set(meant, [what, event.type]);
};
for (const name in begins) on(name, keep, true);
addEventListener('DOMContentLoaded', () => {     // of the window: after all of the document's
  for (const name in begins) document.removeEventListener(name, keep, true);
  for (const [what, name] of early.values()) {
    if (name === 'click') what.click();
    else if (name === 'submit') what.requestSubmit();
    else what.dispatchEvent(new Event('change', {bubbles: true}));
  }
});

// --- what a screen reader is told: the event page:say with detail "busy" speaks #say's data-busy ---

const say = word => { at('say').textContent = at('say').dataset[word]; };
on('page:say', ({detail}) => say(detail));

// --- the connection: its address follows this page's, its state is html[data-ui-link] ---

let tries = 0;
on('htmx:ws:before:connection', ({detail}) => {
  const url = new URL('/ws', location.href);
  url.protocol = url.protocol.replace('http', 'ws');
  url.searchParams.set('path', location.pathname);
  detail.connection.url = url.href;
});
on('htmx:ws:after:connection', () => {
  if (root.dataset.uiLink === 'offline') say('online');
  root.dataset.uiLink = 'online';
  delete root.dataset.uiNudge;
  tries = 0;
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
  if (target.matches('button[type=button]:not([data-with-form])')) detail.message.values = JSON.parse(target.getAttribute('hx-vals') ?? '{}');
  if (root.dataset.uiLink && root.dataset.uiLink !== 'online') { event.preventDefault(); say('offline'); }
  else if (target.matches('[data-leaves]') && unsaved()) {
    event.preventDefault();
    notice('page-unsaved');
    if (target.matches('form:has(select)')) target.reset();
  }
});

// --- a script of an extension fails: the server is told at most every ten seconds, its card says it ---

const failing = new Set(), untold = [];
const owner = address => /\/ext\/(\w+)\/static\//.exec(address ?? '')?.[1];
const failed = (where, text, line = 0) => {
  const id = owner(where);
  if (!id || failing.has(id)) return;
  failing.add(id);
  setTimeout(() => failing.delete(id), 10_000);
  untold.push({action: 'kernel.script_failed', id, text: String(text), line});
  if (root.dataset.uiLink === 'online') tell();
};
const tell = () => {
  while (untold.length) {
    at('page-failed').setAttribute('hx-vals', JSON.stringify(untold.shift()));
    at('page-failed').click();
  }
};
addEventListener('error', ({filename, message, lineno}) => failed(filename, message, lineno));
addEventListener('unhandledrejection', ({reason}) => failed(reason?.stack, reason));
on('htmx:ws:after:connection', tell);

on('click', event => {                          // offline a link would leave the page, for nothing
  const link = event.target.closest?.('a[href]');
  if (root.dataset.uiLink !== 'offline' || link?.origin !== location.origin) return;
  event.preventDefault();
  root.dataset.uiNudge = '';
  say('stay');
}, true);

on('click', event => { if (event.target.closest?.('a[hx-ws\\:send]') && !event.ctrlKey && !event.metaKey) event.preventDefault(); });

// --- what the server tells the page as a whole: its new address, its theme ---

on('htmx:ws:after:message:incoming', () => {
  const {path} = at('page-go').dataset, {theme} = at('page-theme').dataset;
  if (path) { history.replaceState(null, '', path); delete at('page-go').dataset.path; here(); }
  if (theme !== (root.dataset.theme ?? '')) theme ? root.dataset.theme = theme : delete root.dataset.theme;
});

// --- what extensions bring: #page-assets names the styles there are, and the script that each waits with ---

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
    script.onerror = () => brought.delete(id);   // it did not arrive
    document.head.append(script);
  }
}
on('htmx:before:swap', ({detail: {tasks}}) => { for (const {fragment} of tasks) bring(fragment); });

// The old styles go when the new ones are there, so that no part of the page is ever without.
async function dress(wanted) {
  const links = () => [...document.head.querySelectorAll('link[data-style]')], is = link => link.getAttribute('href');
  const come = wanted.filter(href => !links().some(link => is(link) === href)).map(href => new Promise(done => {
    const link = Object.assign(document.createElement('link'), {rel: 'stylesheet', href, onload: done, onerror: done});
    link.dataset.style = '';
    document.head.append(link);
  }));
  await Promise.all(come);
  if (wanted.join(' ') === styles) for (const link of links()) if (!wanted.includes(is(link))) link.remove();
}
on('htmx:ws:after:message:incoming', () => {
  const now = at('page-assets').dataset;
  if (now.styles !== styles) dress((styles = now.styles).split(' '));
  if (now.scripts !== scripts) { ({scripts} = now); bring(document); }
});

// --- a morph sets attributes; a box that was clicked no longer heeds them, so hand on what changed ---

htmx.registerExtension('page', {
  htmx_before_morph_node(element, {oldNode, newNode}) {
    if (oldNode.tagName !== newNode.tagName) return;
    if (oldNode === asked) queueMicrotask(lead);
    if (kept(oldNode, newNode)) return false;
    const edit = oldNode.dataset?.uiEdit != null && drawn(oldNode);                                  // it goes on
    if (edit) newNode.querySelector(':scope > template')?.after(edit.cloneNode(true));
    if (oldNode.tagName === 'INPUT' && oldNode.defaultChecked !== newNode.defaultChecked) oldNode.checked = newNode.defaultChecked;
    const chosen = select => [...select.options].find(option => option.defaultSelected)?.value;
    const {value} = newNode;                    // now: a new option moves over to the old list
    if (oldNode.tagName === 'SELECT' && chosen(oldNode) !== chosen(newNode)) queueMicrotask(() => { oldNode.value = value; });
  },
});

// --- who sends a form by a button or Enter is led to the first box in which something is wrong, when it is drawn anew ---

let asked;
on('submit', ({target}) => { asked = target; });
on('click', ({target}) => { asked = target.closest?.('[data-with-form]')?.form ?? asked; });
on('input', () => { asked = null; });
const lead = () => {
  const wrong = asked?.querySelector('[aria-invalid=true]');
  if (wrong) { wrong.focus(); asked = null; }
};

// --- what is typed into form[data-guard] and is not saved, data-ui-dirty, is kept when the form is drawn anew; leaving it asks.
// What is sent (data-ui-dirty="sent") is taken to be saved, unless a notice or the form itself says soon that it was refused ---

const TYPED = '[data-ui-dirty=""], [data-guard]:has([data-unsaved], [aria-invalid=true])';
const unsaved = () => document.querySelector(TYPED) || [...document.querySelectorAll('[data-guard]')].some(part => part.unsaved?.());
const values = form => new URLSearchParams(new FormData(form)).toString();
const kept = (old, drawn) => {
  if (old.dataset?.uiDirty !== '') return false;
  if (values(old) !== values(drawn)) return true;
  delete old.dataset.uiDirty;
  return false;
};
on('input', ({target}) => { const form = target.closest?.('form[data-guard]'); if (form) form.dataset.uiDirty = ''; });
on('htmx:ws:after:message:outgoing', ({target}) => {
  if (target.dataset.uiDirty === undefined) return;
  target.dataset.uiDirty = 'sent';
  setTimeout(() => { if (target.dataset.uiDirty === 'sent') delete target.dataset.uiDirty; }, 4000);
});
addEventListener('beforeunload', event => { if (unsaved()) event.preventDefault(); });

// --- links to where we are, in lists that are the same for every page ---

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

// --- one listener for clicks: data-open, data-close, data-edit, data-copy, data-press, data-dismiss ---

let down;                                       // what the pointer came down on
on('pointerdown', ({target}) => { down = target; }, true);
on('click', ({target}) => {
  const dialog = target instanceof HTMLDialogElement && target === down && target;       // its backdrop
  const button = target.closest?.('[data-open], [data-close], [data-edit], [data-copy], [data-press], [data-dismiss]');
  if (dialog) dialog.close();
  if (!button) return;
  const {open, edit, copy, press} = button.dataset;
  if (open != null && !at(open)?.open) at(open)?.showModal();
  if (!sending(button)) leaving(button);
  if (edit != null) editing(button.closest('[data-editable]'), edit !== 'end');
  if (copy != null) copying(copy ? at(copy) : button.closest('.code').querySelector('pre'), button);
  if (press != null) setTimeout(() => at(press)?.click());         // after its palette has closed
});
on('toggle', ({target, newState}) => { if (newState === 'open' && target.matches('.pop')) target.scrollTop = 0; }, true);     // not where it was left

// What sends something closes its dialog, or dismisses its notice, once that was sent: offline nothing is lost.
const sending = button => button.matches('[hx-ws\\:send], [hx-ws\\:send] :not([type=button])');
function leaving(button) {
  const {close, dismiss} = button.dataset;
  if (close != null) button.closest('dialog, [popover]')?.[button.closest('dialog') ? 'close' : 'hidePopover']();
  if (dismiss != null) button.closest('.toast')?.remove();
}
on('htmx:ws:after:message:outgoing', ({target}) => {
  const button = target.matches('form') ? target.querySelector('[data-close]:not([type=button])') : target;
  if (button) leaving(button);
});

function editing(part, start) {
  if (!part) return;
  part.toggleAttribute('data-ui-edit', start);
  const form = part.querySelector(':scope > template');         // a form in each of thousands would cost
  if (form && start && !drawn(part)) { form.after(form.content.cloneNode(true)); bring(part); htmx.process(part); }
  const field = part.querySelector('form :is(textarea, input:not([type=hidden]))');
  if (start) { field.focus(); field.setSelectionRange(field.type === 'textarea' ? field.value.length : 0, field.value.length); return; }
  if (form) drawn(part)?.remove(); else field.form.reset();
  part.querySelector('[data-edit]:not([data-edit=end])')?.focus();
}
const drawn = part => part.querySelector(':scope > template + [data-form]');
on('htmx:ws:after:message:outgoing', ({target}) => target.closest('[data-ui-edit]')?.removeAttribute('data-ui-edit'));

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
  say('copied');
  button.dataset.uiDone = '';
  setTimeout(() => delete button.dataset.uiDone, 1500);
}

// --- keys: data-key="/" focuses a field, data-key="Escape" presses a button; "Mod+k" is with Ctrl or Command,
// "Alt+Enter" and "Mod+Shift+m" as they say. Arrows are for what has the focus, if anything has ---

root.toggleAttribute('data-ui-apple', /Mac|iP/.test(navigator.platform));
const pressed = ({key, ctrlKey, metaKey, altKey, shiftKey}) => {
  const mod = ctrlKey || metaKey;
  if (!mod && !altKey) return key;
  return (mod ? 'Mod+' : '') + (altKey ? 'Alt+' : '') + (shiftKey ? 'Shift+' : '') + (key.length === 1 ? key.toLowerCase() : key);
};
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
  if (event.repeat && name !== key) return;
  if (wants instanceof HTMLButtonElement) wants.click(); else wants.focus();
});

// --- what follows typing: the number beside a slider, a list that input[data-filter="id"] filters ---

on('input', ({target}) => {
  if (target.type === 'range' && target.nextElementSibling) target.nextElementSibling.value = target.value;
  if (target.dataset?.filter) filtering(target);
});
function filtering(box, anew = false) {
  const words = box.value.toLowerCase().split(/\s+/);
  for (const row of at(box.dataset.filter).querySelectorAll('li, a, button')) {
    row.toggleAttribute('data-ui-out', !words.every(word => row.textContent.toLowerCase().includes(word)));
  }
  if (box.role === 'combobox') choosing(box, at(box.dataset.filter), {anew});
}

// --- a palette: the buttons and links of its list are options; the keys stay in the box, Enter presses the chosen one ---

let option = '';                                 // the words of the chosen one: its list may be drawn anew, with others in it
function choosing(box, list, {step = 0, anew = false} = {}) {
  const rows = [...list.querySelectorAll('a, button')], shown = rows.filter(row => row.checkVisibility());
  const selected = shown.findIndex(row => row.ariaSelected === 'true');
  const was = selected < 0 && anew ? shown.findIndex(row => row.textContent === option) : selected;
  const chosen = step ? shown.at((was + step) % shown.length) : shown[anew ? Math.max(was, 0) : 0];
  option = chosen?.textContent;
  rows.forEach((row, n) => Object.assign(row, {id: `${list.id}-${n}`, role: 'option', tabIndex: -1, ariaSelected: row === chosen}));
  box.setAttribute('aria-activedescendant', chosen?.id ?? '');
  chosen?.scrollIntoView({block: 'nearest'});
  return chosen;
}
on('keydown', event => {
  const box = event.target.closest?.('[role=combobox]'), step = {ArrowDown: 1, ArrowUp: -1}[event.key];
  if (!box || composing(event) || !step && event.key !== 'Enter') return;
  event.preventDefault();
  if (step) choosing(box, at(box.dataset.filter), {step});
  else at(box.getAttribute('aria-activedescendant'))?.click();
});
on('click', ({target}) => { if (target.closest('[role=option]')) target.closest('dialog')?.close(); }, true);
on('close', ({target}) => { const box = target.querySelector('[role=combobox]'); if (box) box.value = option = ''; if (target.contains(at('toasts'))) above(at('toasts'), document.body); }, true);
on('htmx:after:swap', () => { const box = document.activeElement; if (box?.role === 'combobox') filtering(box, true); });

// --- a file that is dropped where nothing takes files is not opened in the place of this page ---

for (const name of ['dragover', 'drop']) on(name, event => {
  const {target, dataTransfer} = event;
  if (event.defaultPrevented || !dataTransfer?.types.includes('Files') || target.type === 'file') return;
  event.preventDefault();
  dataTransfer.dropEffect = 'none';
});

// --- toasts: above everything, gone after seconds that count while the page is seen and they are not held; three at most ---

const notice = id => at('toasts').append(at(id).content.querySelector('.toast').cloneNode(true));      // in the words of a template
on('page:notice', ({detail}) => notice(detail));
const held = toast => toast.matches(':hover, :focus-within');
function leave(toast, seconds) {
  if (!seconds) return toast.remove();
  setTimeout(leave, 1000, toast, document.hidden || held(toast) ? Math.max(seconds, 2) : seconds - 1);
}
const watching = new MutationObserver(changes => {
  for (const {addedNodes} of changes) for (const toast of addedNodes) {
    if (!(toast instanceof Element)) continue;
    leave(toast, toast.matches('.error') ? 20 : 7);
    if (toast.matches('.error')) for (const form of document.querySelectorAll('[data-ui-dirty=sent]')) form.dataset.uiDirty = '';
  }
  const all = at('toasts'), free = [...all.children].filter(toast => !held(toast));
  while (all.childElementCount > 3 && free.length > 1) free.shift().remove();
  above(all);
});
// A dialog makes all outside of it dead to clicks, so they stand in the one that is open; a swap in there must not take them along.
function above(all, home = [...document.querySelectorAll('dialog:modal')].at(-1) ?? document.body) {
  if (all.matches(':popover-open')) all.hidePopover(); if (all.parentNode !== home) home.append(all);
  if (all.firstElementChild) all.showPopover();          // again, to lie above what was opened since
}
on('htmx:before:swap', ({detail: {tasks}}) => {
  const dialog = at('toasts').closest('dialog'), meets = ({target}) => target instanceof Node && (dialog.contains(target) || target.contains(dialog));
  if (dialog && tasks.some(meets)) above(at('toasts'), document.body);
});
on('htmx:after:swap', () => { if (at('toasts').firstElementChild && document.querySelector('dialog:modal') && !at('toasts').closest('dialog')) above(at('toasts')); });
on('DOMContentLoaded', () => watching.observe(at('toasts'), {childList: true}));

// --- a list put in order by dragging a .handle; its button[data-order] sends `id` and `to` ---

on('pointerdown', down => {
  const item = down.target.closest?.('.handle')?.closest('[data-item]');
  if (!item) return;
  down.preventDefault();
  const list = item.parentNode, first = [...list.children].indexOf(item);
  item.toggleAttribute('data-ui-drag', true);
  const move = ({clientY}) => {                 // the others move around it, so that the touch goes on
    const {previousElementSibling: before, nextElementSibling: after} = item;
    const middle = other => { const box = other.getBoundingClientRect(); return box.top + box.height / 2; };
    if (before?.matches('[data-item]') && clientY < middle(before)) item.after(before);
    else if (after?.matches('[data-item]') && clientY > middle(after)) item.before(after);
  };
  const drop = ({type}) => {
    item.removeAttribute('data-ui-drag');
    for (const name of ['pointermove', 'pointerup', 'pointercancel']) document.removeEventListener(name, name === 'pointermove' ? move : drop);
    const to = [...list.children].indexOf(item), order = list.parentNode.querySelector('[data-order]');
    if (type === 'pointercancel') return list.insertBefore(item, [...list.children].filter(other => other !== item)[first]);
    if (to === first) return;
    order.setAttribute('hx-vals', JSON.stringify({...JSON.parse(order.getAttribute('hx-vals')), id: item.dataset.item, to}));
    order.click();
  };
  on('pointermove', move); on('pointerup', drop); on('pointercancel', drop);
});
}
