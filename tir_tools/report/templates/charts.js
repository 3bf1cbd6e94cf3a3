// Reading values off the figures, by pointer and by arrow keys. The figures themselves are in the page already.
const frame = JSON.parse(document.getElementById('chart-data').textContent);

function spell(value, unit) {
  const short = (number) => {
    if (number === 0) return '0';
    const size = Math.floor(Math.log10(Math.abs(number)));
    if (size >= 6 || size < -4) return number.toExponential(2);
    return size >= 2 ? Math.round(number).toLocaleString('en') : String(Number(number.toFixed(2 - size)));
  };
  if (unit === 'share') return `${Number((100 * value).toFixed(Math.abs(value) < 0.1 ? 1 : 0))}%`;
  if (unit === 'count' && Number.isInteger(value)) return value.toLocaleString('en');
  if (unit !== 'seconds') return short(value);
  if (Math.abs(value) >= 120) return `${Number((value / 60).toFixed(1))} min`;
  if (value !== 0 && Math.abs(value) < 0.1) return `${Number((1000 * value).toFixed(Math.abs(value) < 0.01 ? 1 : 0))} ms`;
  return `${short(value)} s`;
}

function watchChart(element) {
  const chart = frame.charts[element.dataset.chart];
  if (!chart) return;
  const svg = element.querySelector('.plot');
  const cursor = element.querySelector('.cursor');
  const label = element.querySelector('.at-step');
  const values = element.querySelectorAll('.legend b');
  const steps = [...new Set(chart.lines.flatMap((line) => line.x))].sort((a, b) => a - b);
  const ends = [...values].map((value) => value.textContent);
  const endLabel = label.textContent;
  let at = steps.length - 1;

  function show(index) {
    at = Math.max(0, Math.min(steps.length - 1, index));
    const step = steps[at];
    const share = chart.last === chart.first ? 0.5 : (step - chart.first) / (chart.last - chart.first);
    const x = frame.left + share * (frame.right - frame.left);
    cursor.setAttribute('transform', `translate(${x + 9} 0)`);
    label.textContent = `step ${step}`;
    chart.lines.forEach((line, number) => {
      const place = line.x.indexOf(step);
      values[number].textContent = place < 0 ? '-' : spell(line.y[place], chart.unit);
    });
  }

  function rest() {
    cursor.setAttribute('transform', 'translate(0 0)');
    label.textContent = endLabel;
    values.forEach((value, number) => { value.textContent = ends[number]; });
  }

  svg.addEventListener('pointermove', (event) => {
    const box = svg.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width * 420 - frame.left) / (frame.right - frame.left);
    const wanted = chart.first + share * (chart.last - chart.first);
    let nearest = 0;
    steps.forEach((step, index) => { if (Math.abs(step - wanted) < Math.abs(steps[nearest] - wanted)) nearest = index; });
    show(nearest);
  });
  svg.addEventListener('pointerleave', rest);
  element.addEventListener('blur', rest);
  element.addEventListener('keydown', (event) => {
    const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: steps.length - 1 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    show(moves[event.key]);
  });
}

document.querySelectorAll('[data-chart]').forEach(watchChart);
// For tests; where there are trajectories, these are what takes time.
if (!document.getElementById('trajectory-data')) document.body.dataset.ready = 'yes';
