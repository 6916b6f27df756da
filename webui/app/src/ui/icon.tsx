// A small set of line icons, drawn for a box of 24.
const paths = {
  overview: "M4 13h6V4H4zM14 20h6v-9h-6zM14 8h6V4h-6zM4 20h6v-4H4z",
  device: "M7 7h10v10H7zM10 3v4M14 3v4M10 17v4M14 17v4M3 10h4M3 14h4M17 10h4M17 14h4",
  app: "M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9",
  deploy: "M12 15V4M8 8l4-4 4 4M5 15v4h14v-4",
  enroll: "M10 12a4 4 0 100-8 4 4 0 000 8zM3 20c0-4 3-6 7-6 1.5 0 2.8.3 3.9.8M18 14v6M15 17h6",
  gateway: "M4 14h16v6H4zM8 17h.01M12 17h4M6 10a8 8 0 0112 0M9 12.500a4 4 0 016 0",
  board: "M5 4h14v16H5zM9 8h6v5H9zM9 16h.01M12 16h.01M15 16h.01",
  topology: "M12 8a2.5 2.5 0 100-5 2.5 2.5 0 000 5zM5 21a2.5 2.5 0 100-5 2.5 2.5 0 000 5zM19 21a2.5 2.5 0 100-5 2.5 2.5 0 000 5zM11 8l-5 8M13 8l5 8M7.5 18.500h9",
  events: "M13 3L5 14h6l-1 7 8-11h-6z",
  monitor: "M3 12h4l3-8 4 16 3-8h4",
  terminal: "M4 5h16v14H4zM8 10l3 2.500L8 15M13 15h4",
  webhook: "M9 9a3.5 3.5 0 116 2.400L18 17M9.5 11.500L6.5 16M6 20a3 3 0 110-6h0M18 20a3 3 0 100-6M6 17h12",
  setup: "M4 6l1.5 1.500L8 5M4 12l1.5 1.500L8 11M4 18l1.5 1.500L8 17M12 6h8M12 12h8M12 18h8",
  sun: "M12 16a4 4 0 100-8 4 4 0 000 8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.5 1.500M17.5 17.500L19 19M19 5l-1.5 1.500M6.5 17.500L5 19",
  moon: "M20 14.500A8.5 8.5 0 019.5 4a8.5 8.5 0 1010.5 10.500z",
  user: "M12 12a4 4 0 100-8 4 4 0 000 8zM4 20c0-4 3.5-6 8-6s8 2 8 6",
  search: "M11 18a7 7 0 100-14 7 7 0 000 14zM16 16l5 5",
  plus: "M12 5v14M5 12h14",
  x: "M6 6l12 12M18 6L6 18",
  check: "M5 13l4 4L19 7",
  warn: "M12 4l9 16H3zM12 10v4M12 17h.01",
  info: "M12 21a9 9 0 100-18 9 9 0 000 18zM12 11v5M12 8h.01",
  bad: "M12 21a9 9 0 100-18 9 9 0 000 18zM9 9l6 6M15 9l-6 6",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  right: "M9 6l6 6-6 6",
  down: "M6 9l6 6 6-6",
  play: "M7 5l12 7-12 7z",
  pause: "M8 5v14M16 5v14",
  back: "M9 14L4 9l5-5M4 9h10a6 6 0 016 6v5",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  menu: "M4 7h16M4 12h16M4 17h16",
  clock: "M12 21a9 9 0 100-18 9 9 0 000 18zM12 7v5l3 2",
  save: "M5 4h11l3 3v13H5zM8 4v5h7V4M8 20v-6h8v6",
  edit: "M4 20h4L19 9l-4-4L4 16z",
  refresh: "M20 11a8 8 0 00-14-5L4 8M4 4v4h4M4 13a8 8 0 0014 5l2-2M20 20v-4h-4",
  bolt: "M13 3L5 14h6l-1 7 8-11h-6z",
  link: "M10 14a4 4 0 006 0l3-3a4 4 0 00-6-6l-1 1M14 10a4 4 0 00-6 0l-3 3a4 4 0 006 6l1-1",
  lock: "M6 11h12v9H6zM9 11V7a3 3 0 016 0v4",
  out: "M10 4H5v16h5M15 8l4 4-4 4M19 12H9",
} as const;

export type IconName = keyof typeof paths;

/** A picture beside a word; alone it needs a label on what holds it. */
export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg className="icon" width={size} height={size} viewBox="0 0 24 24" fill="none" stroke="currentColor" strokeWidth={name === "more" ? 3.2 : 1.8} strokeLinecap="round" strokeLinejoin="round" aria-hidden="true">
      <path d={paths[name]} />
    </svg>
  );
}
