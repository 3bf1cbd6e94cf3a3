// One trajectory as elements. Texts become text nodes, never markup.
function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const seconds = (value) => spell(value, 'seconds');
const HEAT = [[-0.1, ''], [-0.7, 'h1'], [-2.3, 'h2'], [-4.6, 'h3'], [-Infinity, 'h4']];

function heatOf(logProb) {
  return logProb === null ? '' : HEAT.find(([least]) => logProb >= least)[1];
}

function heated(piece) {
  const found = [];
  let position = 0;
  piece.lengths.forEach((length, index) => {
    const text = piece.text.slice(position, position + length);
    position += length;
    if (!text) return;
    const logProb = piece.logProbs[index];
    const span = make('span', heatOf(logProb), text);
    if (logProb !== null) span.title = `log-prob ${logProb}, probability ${spell(Math.exp(logProb), 'share')}`;
    found.push(span);
  });
  return found;
}

function coloured(piece) {
  if (!piece.colours) return [piece.text];
  let position = 0;
  return piece.colours.map(([kind, length]) => {
    const text = piece.text.slice(position, position + length);
    position += length;
    return kind ? make('span', `c-${kind}`, text) : text;
  });
}

function pre(pieces, heat) {
  const element = make('pre');
  for (const piece of pieces) {
    if (piece.gap !== undefined) element.append(make('span', 'gap', `\n… ${piece.gap.toLocaleString('en')} characters left out …\n`));
    else element.append(...(heat && piece.lengths ? heated(piece) : coloured(piece)));
  }
  return element;
}

function part(kind, title, facts, body) {
  return make('div', `part ${kind}`, make('h4', '', title, ...facts.filter(Boolean).map((fact) => make('span', '', fact))), body);
}

function tags(item) {
  const found = [make('span', `tag ${item.outcome}`, item.outcome)];
  if (item.void) found.push(make('span', 'tag void', 'void'));
  const fates = { mask: 'in the baseline only', drop: 'left out', evicted: 'group replaced' };
  if (item.fate in fates) found.push(make('span', 'tag masked', fates[item.fate]));
  if (item.stop !== 'void') found.push(make('span', 'tag', item.stop.replaceAll('_', ' ')));
  return found;
}

function facts(item) {
  const list = make('dl');
  const add = (name, value) => { if (value !== null && value !== undefined && value !== '') list.append(make('dt', '', name), make('dd', '', value)); };
  const parts = Object.entries(item.parts).map(([name, value]) => `${name} ${value}`).join(', ');
  add('answer', item.answer === null ? 'none' : `${item.answer} (${item.answeredBy === 'tool' ? 'printed by a program' : 'written by the model'})`);
  add('accepted', item.truth);
  add('reward', `${item.reward}${parts ? ` (${parts})` : ''}`);
  const why = item.reason ? ` (${item.reason.replaceAll('_', ' ')})` : '';
  const becomes = { train: 'in the loss', mask: 'not in the loss; its reward is in the baseline', drop: 'left the batch', evicted: 'its group was replaced' };
  add('in the update', item.partition === 'val' ? 'validation' : becomes[item.fate] + why);
  add('benchmark', item.source);
  add('behaviours', item.behaviours.join(', '));
  add('fault', item.fault);
  const engine = item.turns.reduce((sum, turn) => sum + turn.generate, 0);
  const tool = item.turns.reduce((sum, turn) => sum + turn.toolTime, 0);
  add('time', `${seconds(engine)} in the engine, ${seconds(tool)} in the sandbox`);
  return list;
}

function turnParts(item, turn, number, heat) {
  const found = [];
  const unused = item.partition === 'train' && item.fate !== 'train' ? ' unused' : '';
  const call = turn.call ? ['wait', 'connect', 'queue', 'run'].map((name) => `${name} ${seconds(turn.call[name])}`).join(', ') : '';
  found.push(part(`model${unused}`, `Turn ${number}, model`, [
    `${turn.modelTokens} tokens${turn.discarded ? `, ${turn.discarded} cut off` : ''}`,
    turn.void ? 'void: neither code nor an answer' : '',
    turn.mean === null ? '' : `log-prob mean ${turn.mean}, lowest ${turn.lowest}`,
    `${seconds(turn.generate)}`,
  ], pre(turn.model, heat)));
  if (turn.outcome === null && !turn.tool.length) return found;
  const outcome = turn.outcome === null ? '' : `program: ${turn.outcome.replaceAll('_', ' ')}`;
  const body = turn.tool.length ? pre(turn.tool, false) : make('pre', '', make('span', 'gap', 'nothing was shown to the model'));
  found.push(part('tool', `Turn ${number}, tool: masked, not trained on`, [
    outcome, `${turn.toolTokens} tokens${turn.truncated ? ', cut' : ''}`, seconds(turn.toolTime), call,
    turn.call && turn.call.attempts > 1 ? `${turn.call.attempts} attempts` : '',
  ], body));
  return found;
}

function transcript(item, prompts, heat, withPrompt) {
  const found = withPrompt ? [part('prompt', 'Prompt', [], make('pre', '', prompts[item.prompt]))] : [];
  item.turns.forEach((turn, index) => found.push(...turnParts(item, turn, index + 1, heat)));
  return found;
}

function heatScale() {
  const labels = ['below 1%', '1 to 10%', '10 to 50%', '50 to 90%'];
  return make('p', 'scale', 'Probability of a token: ', ...['h4', 'h3', 'h2', 'h1'].map((kind, at) => make('span', kind, labels[at])), ' above 90% unshaded');
}
