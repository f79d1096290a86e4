// Whoever has the focus in what goes away is taken to what took its place: to the button of the same name, or the first there.
const called = part => part.ariaLabel ?? part.textContent, BUTTONS = 'a[href], button:enabled, summary';
let was, way = [];                               // what had the focus, and each part around it with its place
on('htmx:before:swap', ({detail: {tasks}}) => {
  was = document.activeElement; way = [];
  if (was === document.body || !tasks.some(({target}) => target instanceof Node && target.contains(was))) return;
  for (let part = was; part.parentElement; part = part.parentElement) way.push([part, part.parentElement, [...part.parentElement.children].indexOf(part)]);
});
on('htmx:after:swap', () => {
  for (const [part, parent, place] of document.activeElement === document.body ? way : []) {
    const now = part.isConnected ? part : at(part.id) ?? parent.children[place] ?? parent.lastElementChild;
    const there = [now, ...now?.querySelectorAll('*') ?? []].filter(each => each?.matches(was.matches(BUTTONS) ? BUTTONS : `[id="${CSS.escape(was.id)}"]`) && each.checkVisibility());      // who types presses nothing
    const next = there.find(each => called(each) === called(was)) ?? there[0];
    if (next) return next.focus({preventScroll: true});
  }
});
