// What is typed into form[data-guard] and is not saved, data-ui-dirty, is kept when the form is drawn anew; leaving it asks.
// What is sent (data-ui-dirty="sent") is taken to be saved, unless a notice, the form or the end of the connection says otherwise.
const TYPED = '[data-ui-dirty=""], [data-guard]:has([data-unsaved], [aria-invalid=true])';
const unsaved = () => document.querySelector(TYPED) || [...document.querySelectorAll('[data-guard]')].some(part => part.unsaved?.());
const values = form => new URLSearchParams(new FormData(form)).toString();
const kept = (old, drawn) => {                    // until what is typed is what is drawn
  const {uiDirty} = old.dataset ?? {};
  if (uiDirty === 'sent' && drawn.querySelector('[aria-invalid=true]')) old.dataset.uiDirty = '';     // it was refused, as this says
  return uiDirty === '' && (values(old) !== values(drawn) || !delete old.dataset.uiDirty);
};
on('input', ({target}) => { const form = target.closest?.('form[data-guard]'); if (form) form.dataset.uiDirty = ''; });
on('htmx:ws:after:message:outgoing', ({target}) => {
  if (target.dataset.uiDirty === undefined) return;
  target.querySelector('[data-unsaved]')?.removeAttribute('data-unsaved');
  target.dataset.uiDirty = 'sent'; taken(target, target.sentAt = Date.now());
});
const taken = (form, sent) => setTimeout(() => {   // when nothing was heard since, the wire may be dead
  if (form.dataset.uiDirty === 'sent' && form.sentAt === sent) heard > sent ? delete form.dataset.uiDirty : taken(form, sent);
}, 4000);
const unsend = (which = '') => { for (const form of document.querySelectorAll('[data-ui-dirty=sent]' + which)) form.dataset.uiDirty = ''; };
on('htmx:ws:close', () => unsend());
on('htmx:ws:after:message:incoming', () => unsend(':has([data-unsaved])'));                        // it was refused
addEventListener('beforeunload', event => { if (unsaved()) event.preventDefault(); });
