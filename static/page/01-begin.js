// What the page does by itself, everywhere. These files are one script, in the order of their names, that runs in the head. State
// of the page alone lives in data-ui-* attributes, which a morph leaves as they are. No words in here: they stand in the templates.
const root = document.documentElement;
const at = id => document.getElementById(id);
const on = (name, does, options) => document.addEventListener(name, does, options);
// What a screen reader is told: the event page:say with detail "busy" speaks #say's data-busy.
const say = word => { at('say').textContent = at('say').dataset[word]; };
on('page:say', ({detail}) => say(detail));
