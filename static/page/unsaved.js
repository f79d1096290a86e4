// What is typed into form[data-guard] and is not saved, data-ui-dirty, is kept when the form is drawn anew; leaving it asks.
// What is sent (data-ui-dirty="sent") is taken to be saved, unless a notice, the form or the end of the connection says otherwise.
const unsaved = () => document.querySelector('[data-ui-dirty=""], [data-guard]:has([data-unsaved], [aria-invalid=true])') || [...document.querySelectorAll('[data-guard]')].some(part => part.unsaved?.());
const values = form => new URLSearchParams([...new FormData(form)].filter(([name]) => name !== 'stamp')).toString();      // of which nobody types the stamp
const kept = (old, drawn) => {                    // until what is typed is what is drawn
  const {uiDirty} = old.dataset ?? {};
  if (uiDirty === 'sent' && drawn.querySelector('[aria-invalid=true]')) old.dataset.uiDirty = '';     // it was refused, as this says
  return uiDirty === '' && (values(old) !== values(drawn) || !delete old.dataset.uiDirty);
};
on('input', ({target}) => { const form = target.closest?.('form[data-guard]'); if (form) form.dataset.uiDirty = ''; });
on('htmx:ws:after:message:outgoing', ({target}) => {
  if (target.dataset.uiDirty === undefined) return;
  target.querySelector('[data-unsaved]')?.removeAttribute('data-unsaved');
  target.dataset.uiDirty = 'sent'; under.add(target); taken(target, target.sentAt = Date.now());
});
const taken = (form, sent) => setTimeout(() => {   // when nothing was heard since, the wire may be dead
  if (form.dataset.uiDirty === 'sent' && form.sentAt === sent) heard > sent ? delete form.dataset.uiDirty : taken(form, sent);
}, 4000);
const under = new Set();                         // what is sent, so that no message has to look for it
const unsend = refused => { for (const form of under) if (form.dataset.uiDirty !== 'sent') under.delete(form); else if (!refused || form.querySelector('[data-unsaved]')) form.dataset.uiDirty = ''; };
on('htmx:ws:close', () => unsend());
on('htmx:ws:after:message:incoming', () => unsend(true));
addEventListener('beforeunload', event => { if (unsaved()) event.preventDefault(); });
