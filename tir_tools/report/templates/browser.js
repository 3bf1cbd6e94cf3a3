// The trajectories: unpacked, filtered, listed, shown alone or beside the others of their prompt.
const PAGE = 60;
const FILTERS = [
  ['step', 'Step', (item) => `${item.partition === 'val' ? 'validation ' : ''}${item.step}`],
  ['outcome', 'Outcome', (item) => item.outcome],
  ['void', 'Void', (item) => (item.void ? 'void' : 'not void')],
  ['stop', 'Stop reason', (item) => item.stop.replaceAll('_', ' ')],
  ['source', 'Benchmark', (item) => item.source || 'unnamed'],
  ['fate', 'In the update', (item) => (item.partition === 'val' ? 'validation' : item.reason ? `${item.fate}: ${item.reason.replaceAll('_', ' ')}` : item.fate)],
  ['behaviour', 'Behaviour', (item) => item.behaviours],
];
const state = { data: null, found: [], shown: PAGE, item: null, heat: false, group: false };
const byId = (id) => document.getElementById(id);

async function unpack() {
  const packed = Uint8Array.from(atob(byId('trajectory-data').textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'));
  return JSON.parse(await new Response(stream).text());
}

function natural(a, b) {
  return a.localeCompare(b, 'en', { numeric: true });
}

function buildFilters() {
  const form = byId('filters');
  for (const [name, title, read] of FILTERS) {
    const values = [...new Set(state.data.trajectories.flatMap(read))].sort(natural);
    if (values.length < 2) continue;
    const select = make('select', '', make('option', '', 'all'), ...values.map((value) => make('option', '', value)));
    select.options[0].value = '';
    select.name = name;
    form.append(make('label', '', title, select));
  }
  const search = make('input');
  search.type = 'search';
  search.name = 'text';
  form.append(make('label', '', 'Text', search));
  form.addEventListener('input', () => { state.shown = PAGE; applyFilters(); });
  form.addEventListener('submit', (event) => event.preventDefault());
}

function textOf(item) {
  if (!item.text) {
    const pieces = item.turns.flatMap((turn) => [...turn.model, ...turn.tool]);
    item.text = [state.data.prompts[item.prompt], item.answer, ...pieces.map((piece) => piece.text || '')].join('\n').toLowerCase();
  }
  return item.text;
}

function applyFilters() {
  const wanted = new FormData(byId('filters'));
  const text = (wanted.get('text') || '').toLowerCase();
  const active = FILTERS.filter(([name]) => wanted.get(name));
  state.found = state.data.trajectories.filter((item) => active.every(([name, , read]) => [read(item)].flat().includes(wanted.get(name)))
    && (!text || textOf(item).includes(text)));
  list();
}

function entry(item) {
  const button = make('button', '', ...tags(item), make('span', 'question', `step ${item.step}${item.partition === 'val' ? ' validation' : ''} · ${item.turns.length} ${item.turns.length === 1 ? 'turn' : 'turns'} · ${item.answer ?? 'no answer'}`));
  button.type = 'button';
  button.dataset.key = item.id;
  if (item === state.item) button.setAttribute('aria-current', 'true');
  button.addEventListener('click', () => choose(item, true));
  return make('li', '', button);
}

function list() {
  const element = byId('list');
  element.replaceChildren(...state.found.slice(0, state.shown).map(entry));
  if (state.found.length > state.shown) {
    const more = make('button', '', `Show more (${(state.found.length - state.shown).toLocaleString('en')})`);
    more.type = 'button';
    more.addEventListener('click', () => { state.shown += 4 * PAGE; list(); });
    element.append(make('li', '', more));
  }
  byId('count').textContent = `${state.found.length.toLocaleString('en')} of ${state.data.trajectories.length.toLocaleString('en')} match`;
}

function choose(item, byHand) {
  state.item = item;
  byId('list').querySelectorAll('button').forEach((button) => {
    button.toggleAttribute('aria-current', false);
    if (button.dataset.key === String(item.id)) button.setAttribute('aria-current', 'true');
  });
  detail();
  if (!byHand) return;
  history.replaceState(null, '', `#t-${item.id}`);
  if (window.matchMedia('(max-width: 820px)').matches) byId('detail').scrollIntoView();
}

function toggle(name, label, enabled) {
  const button = make('button', '', label);
  button.type = 'button';
  button.disabled = !enabled;
  button.setAttribute('aria-pressed', String(state[name]));
  button.addEventListener('click', () => { state[name] = !state[name]; detail(); });
  return button;
}

function detail() {
  const { item } = state;
  const group = state.data.trajectories.filter((other) => other.group === item.group && other.partition === item.partition && other.step === item.step);
  const heatable = group.some((other) => other.turns.some((turn) => turn.model.some((piece) => piece.lengths)));
  const bar = make('div', 'bar',
    toggle('heat', 'Token log-probabilities', heatable),
    toggle('group', `Beside the prompt's others (${group.length})`, group.length > 1));
  byId('browser').classList.toggle('wide', state.group && group.length > 1);
  const children = [bar];
  if (!heatable) children.push(make('p', 'hint', 'The dump has no log-probabilities of single tokens; tir.dump_token_log_probs=true keeps them.'));
  if (state.heat && heatable) children.push(heatScale());
  if (state.group && group.length > 1) {
    const prompt = part('prompt', 'Prompt', [], make('pre', '', state.data.prompts[item.prompt]));
    const columns = group.map((other) => make('section', '', make('h3', '', ...tags(other)), facts(other), ...transcript(other, state.data.prompts, state.heat, false)));
    children.push(prompt, make('div', 'columns', ...columns));
  } else {
    children.push(make('p', '', ...tags(item)), facts(item), ...transcript(item, state.data.prompts, state.heat, true));
  }
  byId('detail').replaceChildren(...children);
}

byId('list')?.addEventListener('keydown', (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const buttons = [...byId('list').querySelectorAll('button')];
  const next = buttons[buttons.indexOf(document.activeElement) + step];
  if (!step || !next) return;
  event.preventDefault();
  next.focus();
  if (next.dataset.key) next.click();
});

async function start() {
  if (!byId('trajectory-data')) return;
  if (!('DecompressionStream' in window)) {
    byId('count').textContent = 'This browser cannot unpack the trajectories; one of 2023 or later can.';
    return;
  }
  state.data = await unpack();
  // Later steps first, training before validation, groups together.
  state.data.trajectories.sort((a, b) => b.step - a.step || natural(a.partition, b.partition) || natural(a.group, b.group) || natural(a.key, b.key));
  state.data.trajectories.forEach((item, index) => { item.id = index; });
  buildFilters();
  applyFilters();
  const asked = /^#t-(\d+)$/.exec(location.hash);
  const first = state.data.trajectories[asked ? Number(asked[1]) : 0];
  if (first) choose(first, false);
  document.body.dataset.ready = 'yes';
}

start();
