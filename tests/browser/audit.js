// What a person who sees little, or uses no mouse, would stumble over. Returns a line for each fault.
() => {
  const faults = [];
  const visible = (element) => element.checkVisibility({ opacityProperty: false, visibilityProperty: true });
  const hiddenVisually = (element) => element.closest(".visually-hidden, .segments") !== null && getComputedStyle(element).opacity === "0" || element.closest(".visually-hidden") !== null;
  const where = (element) => `<${element.tagName.toLowerCase()}${element.id && ` id=${element.id}`} class="${element.getAttribute("class") ?? ""}"> ${element.textContent.trim().slice(0, 40)}`;

  // Names
  const named = (element) =>
    element.getAttribute("aria-label")?.trim() ||
    element.getAttribute("aria-labelledby")?.split(" ").map((id) => document.getElementById(id)?.textContent).join("").trim() ||
    [...(element.labels ?? [])].map((label) => label.textContent).join("").trim() ||
    (["BUTTON", "A", "SUMMARY"].includes(element.tagName) && element.textContent.trim());
  for (const element of document.querySelectorAll("input, select, textarea, button, a[href], summary, [role=tab], [role=meter], [role=img], [role=region], dialog")) {
    if (visible(element) && !named(element)) faults.push(`no name: ${where(element)}`);
  }
  for (const image of document.images) if (!image.hasAttribute("alt")) faults.push(`no alt: ${image.src}`);
  for (const fieldset of document.querySelectorAll("fieldset")) if (!fieldset.querySelector("legend")) faults.push(`no legend: ${where(fieldset)}`);

  // References and structure
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  for (const id of new Set(ids)) if (ids.filter((other) => other === id).length > 1) faults.push(`id twice: ${id}`);
  for (const name of ["aria-labelledby", "aria-describedby", "aria-controls", "for"]) {
    for (const element of document.querySelectorAll(`[${name}]`)) {
      for (const id of element.getAttribute(name).split(" ")) if (!document.getElementById(id)) faults.push(`${name} leads nowhere: ${id}`);
    }
  }
  for (const table of document.querySelectorAll("table")) {
    for (const cell of table.querySelectorAll("th")) if (!cell.hasAttribute("scope")) faults.push(`th without scope: ${where(cell)}`);
  }
  for (const element of document.querySelectorAll("[tabindex]")) if (element.tabIndex > 0) faults.push(`tab order forced: ${where(element)}`);
  if (document.documentElement.lang !== "en") faults.push("no language");
  const mains = [...document.querySelectorAll("main")].filter(visible);
  const headings = [...document.querySelectorAll("h1")].filter(visible);
  if (mains.length !== 1) faults.push(`${mains.length} mains`);
  if (headings.length !== 1) faults.push(`${headings.length} first headings`);

  // Contrast (WCAG 2.2, 1.4.3 and 1.4.11)
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data;
    return [red, green, blue, alpha / 255];
  };
  const over = ([red, green, blue, alpha], under) => [red, green, blue].map((value, place) => value * alpha + under[place] * (1 - alpha));
  const ground = (element) => {
    if (!element) return rgba(getComputedStyle(document.body).backgroundColor).slice(0, 3);
    const own = rgba(getComputedStyle(element).backgroundColor);
    return own[3] === 1 ? own.slice(0, 3) : over(own, ground(element.parentElement));
  };
  const luminance = (colour) => {
    const [red, green, blue] = colour.map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ratio = (one, other) => {
    const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
  };
  const opacity = (element) => (element ? Number(getComputedStyle(element).opacity) * opacity(element.parentElement) : 1);
  const shown = (colour, element, under) => {
    const own = rgba(colour);
    return over([...own.slice(0, 3), own[3] * opacity(element)], under);
  };
  let texts = 0;
  for (const element of document.querySelectorAll("body *")) {
    if (!visible(element) || hiddenVisually(element) || element.closest("option, :disabled, .toast:not(.shown)")) continue;
    const style = getComputedStyle(element);
    const says = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim()) || element.value;
    const under = ground(element);
    if (says) {
      texts += 1;
      const size = parseFloat(style.fontSize);
      const needed = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
      const colour = element.namespaceURI.endsWith("svg") ? style.fill : style.color;
      const found = ratio(shown(colour, element, under), under);
      if (found < needed) faults.push(`contrast ${found.toFixed(2)}: ${where(element)}`);
    }
    if (element.placeholder) {
      const found = ratio(shown(getComputedStyle(element, "::placeholder").color, element, under), under);
      if (found < 4.5) faults.push(`contrast ${found.toFixed(2)} of the placeholder: ${where(element)}`);
    }
    if (element.matches("input:not([type=radio], [type=checkbox]), select, textarea")) {
      const found = ratio(shown(style.borderTopColor, element, ground(element.parentElement)), ground(element.parentElement));
      if (found < 3) faults.push(`contrast ${found.toFixed(2)} of the edge: ${where(element)}`);
    }
    if (/\bseries-\d/.test(element.getAttribute("class")) || element.matches(".meter > span, .state, .dot")) {
      const colour = element instanceof SVGElement ? style.fill : element.matches(".state") ? getComputedStyle(element, "::before").backgroundColor : style.backgroundColor;
      const found = ratio(rgba(colour).slice(0, 3), ground(element.parentElement));
      if (found < 3) faults.push(`contrast ${found.toFixed(2)} of a shape: ${where(element)}`);
    }
  }
  if (texts < 5) faults.push("there is hardly any text: the audit looks at the wrong thing");
  return faults;
}
