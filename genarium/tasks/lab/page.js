// Small parts of the Lab's page: controls.

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
