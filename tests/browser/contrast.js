// The texts of the page that are harder to read than WCAG's AA allows, with their contrast.
const parse = (color) => (color.match(/[\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => {
  const part = (value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  };
  return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
};
const compare = (one, other) => {
  const [a, b] = [light(one), light(other)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
};
const ground = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const color = parse(getComputedStyle(at).backgroundColor);
    if (color.length === 3 || color[3] === 1) return color;
  }
  return [255, 255, 255];
};
const found = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((each) => each.nodeType === 3 && each.data.trim());
  if (!own || !element.getClientRects().length || element.closest("script, style, title")) continue;
  const style = getComputedStyle(element);
  const bar = element.closest("a.bar, .phase");
  const fill = bar && getComputedStyle(bar.querySelector("rect")).fill;
  const pattern = fill && (fill.match(/#([\w-]+)/) || [])[1];
  const drawn = pattern ? getComputedStyle(document.querySelector(`#${pattern} rect`)).fill : fill;
  const color = element instanceof SVGElement ? style.fill : style.color;
  const ratio = compare(parse(color), drawn ? parse(drawn) : ground(element));
  if (ratio < 4.5) found.push([element.tagName, element.className, element.textContent.slice(0, 30), ratio]);
}
return [found, ground(document.body)];
