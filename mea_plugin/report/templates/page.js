// What the whole page does: the theme, copying a command, and starting the image browser.

const THEMES = ['auto', 'light', 'dark'];

function setTheme(theme) {
  const root = document.documentElement;
  if (theme === 'auto') delete root.dataset.theme;
  else root.dataset.theme = theme;
  const button = document.querySelector('[data-part=theme]');
  button.dataset.value = theme;
  button.textContent = `Theme: ${theme}`;
  try {
    localStorage.setItem('mea-report-theme', theme);
  } catch {
    // a page from disk may have no storage; the choice then lasts as long as the page
  }
}

function storedTheme() {
  try {
    const theme = localStorage.getItem('mea-report-theme');
    return THEMES.includes(theme) ? theme : 'auto';
  } catch {
    return 'auto';
  }
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement('textarea');
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
}

function start() {
  setTheme(storedTheme());
  const theme = document.querySelector('[data-part=theme]');
  theme.hidden = false;
  theme.addEventListener('click', () => {
    setTheme(THEMES[(THEMES.indexOf(theme.dataset.value) + 1) % THEMES.length]);
  });
  for (const button of document.querySelectorAll('button[data-copies]')) {
    button.hidden = false;
    button.addEventListener('click', async () => {
      await copyText(document.getElementById(button.dataset.copies).textContent);
      button.textContent = 'Copied';
      setTimeout(() => { button.textContent = 'Copy'; }, 2000);
    });
  }
  // On paper nothing can be unfolded.
  let folded = [];
  addEventListener('beforeprint', () => {
    folded = [...document.querySelectorAll('details:not([open])')];
    folded.forEach((one) => { one.open = true; });
  });
  addEventListener('afterprint', () => folded.forEach((one) => { one.open = false; }));
  // Only what really scrolls needs a place in the order of the Tab key.
  const scrolls = (box) => { box.tabIndex = box.scrollWidth > box.clientWidth + 1 ? 0 : -1; };
  const watch = new ResizeObserver((entries) => entries.forEach((entry) => scrolls(entry.target)));
  document.querySelectorAll('.scroll').forEach((box) => watch.observe(box));
  const calculator = document.querySelector('[data-part=calculator]');
  if (calculator) new Calculator(calculator, JSON.parse(document.getElementById('prices').textContent));
  const root = document.querySelector('[data-part=browser]');
  if (!root) return;
  root.hidden = false;
  document.querySelector('[data-part=no-script]').hidden = true;
  const data = JSON.parse(document.getElementById('data').textContent);
  globalThis.meaReport = { browser: new Browser(root, data), absoluteError, bandMap, colour, luma, queriesFor, readPixels };
}

start();
