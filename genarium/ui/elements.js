// What the scripts of pages share: elements, and texts in two languages.

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
