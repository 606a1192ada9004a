// Small parts of the Lab's page: elements, texts in two languages, and controls.

// Return a new element. Attributes that begin with "on" are listeners; `text` is a pair of texts [English, Chinese], shown as
// content; `label` is such a pair, for the name that a screen reader says and the mouse shows.
function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'text') say(element, value);
    else if (name === 'label') labelled(element, value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter(child => child !== null && child !== undefined));
  return element;
}

// Return a pair of texts with values in the places of {names}.
function filled(pair, values) {
  return pair.map(text => text.replace(/\{(\w+)\}/g, (all, name) => name in values ? values[name] : all));
}

// Show a pair of texts, which may hold markup, as an element's content. The app's style sheet shows one of them.
function say(element, pair) {
  if (element.tagName === 'OPTION') return labelled(element, pair);
  const html = `<span class="in-en" lang="en">${pair[0]}</span><span class="in-zh" lang="zh">${pair[1]}</span>`;
  if (element.said !== html) element.innerHTML = element.said = html;
  return element;
}

// Give an element a name in the visitor's language, which `translate` renews when they change it.
function labelled(element, pair) {
  element.dataset.en = pair[0];
  element.dataset.zh = pair[1];
  translateOne(element);
  return element;
}

// Return whether the page is shown in Chinese: the app's style sheet for the language then hides what is English.
function isChinese() {
  const sheet = document.querySelector('#language-style style');
  return Boolean(sheet) && sheet.textContent.includes('.in-en');
}

function translateOne(element) {
  const text = isChinese() ? element.dataset.zh : element.dataset.en;
  if (element.tagName === 'OPTION') element.textContent = text;
  else if (element.dataset.into === 'text') element.textContent = text;
  else {
    element.setAttribute('aria-label', text);
    if (element.tagName === 'BUTTON') element.title = text;
  }
}

// Renew all names below an element.
function translate(root) {
  root.querySelectorAll('[data-en]').forEach(translateOne);
}

// Return a drop-down.
function dropDown(label, choices, value, onchange) {
  const options = choices.map(([name, pair]) => h('option', {value: name, text: pair}));
  const select = h('select', {label: label, onchange: () => onchange(select.value)}, ...options);
  select.value = value;
  return select;
}

const isLogarithmic = control => control.minimum > 0 && control.maximum / control.minimum >= 50;

// Return a slider over a control's range; one with a wide range is logarithmic. `onchange` gets the value.
function slider(control, value, onchange) {
  const log = isLogarithmic(control), whole = control.kind === 'integer';
  const step = control.step || (whole ? 1 : (control.maximum - control.minimum) / 100);
  const to = v => log ? Math.log(v / control.minimum) / Math.log(control.maximum / control.minimum) * 1000 : v;
  const from = v => {
    if (!log) return Number(Number(v).toPrecision(10));
    const raw = control.minimum * (control.maximum / control.minimum) ** (v / 1000);
    return whole ? Math.round(raw) : Number(raw.toPrecision(2));
  };
  const shown = h('output', {}, shortNumber(value));
  const range = h('input', {
    type: 'range', min: log ? 0 : control.minimum, max: log ? 1000 : control.maximum, step: log ? 1 : step, label: control.label,
  });
  range.value = to(value);
  const write = () => {
    shown.textContent = shortNumber(from(range.value));
    range.setAttribute('aria-valuetext', shown.textContent);
  };
  range.addEventListener('input', write);
  range.addEventListener('change', () => onchange(from(range.value)));
  write();
  return h('div', {class: 'lab-slider'}, range, shown);
}

// Return a control with its label and its help. `onchange` gets the new value.
function controlOf(control, value, onchange) {
  const title = h('span', {class: 'lab-name', text: control.label});
  const help = control.help[0] ? h('span', {class: 'lab-help', text: control.help}) : null;
  if (control.kind === 'checkbox') {
    const box = h('input', {type: 'checkbox', onchange: () => onchange(box.checked)});
    box.checked = value;
    return h('label', {class: 'lab-control lab-check'}, box, title, help);
  }
  let field;
  if (control.kind === 'choice') {
    const names = control.choices.map(choice => [JSON.stringify(choice), control.words[choice] || [String(choice), String(choice)]]);
    field = dropDown(control.label, names, JSON.stringify(value), chosen => onchange(JSON.parse(chosen)));
  } else if (control.minimum !== null && control.maximum !== null) field = slider(control, value, onchange);
  else {
    field = h('input', {type: 'number', label: control.label, onchange: () => onchange(Number(field.value))});
    field.value = value;
  }
  return h('div', {class: 'lab-control'}, title, field, help);
}
