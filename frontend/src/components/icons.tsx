import type { ReactNode } from "react";

/** A small set drawn on a 24 x 24 grid with round strokes; decorative, so the control that holds one carries the name. */
function icon(shape: ReactNode) {
  // biome-ignore lint/correctness/noComponentHookFactories: called below, once for each icon, never while rendering
  return function Icon({ size = 16 }: { size?: number }) {
    return (
      <svg
        width={size}
        height={size}
        viewBox="0 0 24 24"
        fill="none"
        stroke="currentColor"
        strokeWidth="1.8"
        strokeLinecap="round"
        strokeLinejoin="round"
        aria-hidden="true"
      >
        {shape}
      </svg>
    );
  };
}

export const IconInfo = icon(
  <>
    <circle cx="12" cy="12" r="9" />
    <path d="M12 11v5M12 8h.01" />
  </>,
);
export const IconTable = icon(
  <>
    <rect x="3.5" y="4.5" width="17" height="15" rx="2" />
    <path d="M3.5 9.5h17M3.5 14.5h17M10 9.5v10" />
  </>,
);
export const IconLogScale = icon(<path d="M4 4v16h16M8 20v-2M8 13h4M8 9h7M8 6h10" />);
export const IconZoomOut = icon(
  <>
    <circle cx="10.5" cy="10.5" r="6.5" />
    <path d="m20 20-4.7-4.7M8 10.5h5" />
  </>,
);
export const IconCopy = icon(
  <>
    <rect x="8.5" y="8.5" width="12" height="12" rx="2" />
    <path d="M5 15.5A1.5 1.5 0 0 1 3.5 14V5A1.5 1.5 0 0 1 5 3.5h9A1.5 1.5 0 0 1 15.5 5" />
  </>,
);
export const IconCheck = icon(<path d="m5 12.5 4.5 4.5L19 7" />);
export const IconDownload = icon(<path d="M12 4v11M7 10.5l5 5 5-5M5 20h14" />);
export const IconPencil = icon(
  <path d="M4.5 19.5 5.6 15 16 4.6a2 2 0 0 1 2.8 0l.6.6a2 2 0 0 1 0 2.8L9 18.4l-4.5 1.1zM14 6.6l3.4 3.4" />,
);
export const IconSun = icon(
  <>
    <circle cx="12" cy="12" r="4" />
    <path d="M12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M18.7 5.3l-1.4 1.4M6.7 17.3l-1.4 1.4" />
  </>,
);
export const IconMoon = icon(<path d="M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5z" />);
export const IconSystem = icon(
  <>
    <rect x="3" y="4.5" width="18" height="12" rx="2" />
    <path d="M9 20h6M12 16.5V20" />
  </>,
);
export const IconUser = icon(
  <>
    <circle cx="12" cy="8" r="4" />
    <path d="M4.5 20.5c1.2-3.6 4-5.5 7.5-5.5s6.3 1.9 7.5 5.5" />
  </>,
);
export const IconBack = icon(<path d="M15 5l-7 7 7 7" />);
export const IconChevron = icon(<path d="m6 9 6 6 6-6" />);
export const IconWarning = icon(<path d="M12 4 2.8 20h18.4L12 4zM12 10v4.5M12 17.2h.01" />);
export const IconClock = icon(
  <>
    <circle cx="12" cy="12" r="9" />
    <path d="M12 7v5l3.2 2" />
  </>,
);
export const IconSearch = icon(
  <>
    <circle cx="10.5" cy="10.5" r="6.5" />
    <path d="m20 20-4.7-4.7" />
  </>,
);
export const IconClose = icon(<path d="M6 6l12 12M18 6 6 18" />);
export const IconEye = icon(
  <>
    <path d="M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12z" />
    <circle cx="12" cy="12" r="3" />
  </>,
);
export const IconEyeOff = icon(
  <path d="M4 4l16 16M9.5 5.9A9.6 9.6 0 0 1 12 5.5c6 0 9.5 6.5 9.5 6.5a17 17 0 0 1-2.7 3.4M6 7.3A16 16 0 0 0 2.5 12S6 18.5 12 18.5a9 9 0 0 0 4.3-1.1" />,
);
export const IconMore = icon(<path d="M5 12h.01M12 12h.01M19 12h.01" strokeWidth="3" />);

/** The mark: a ball at rest in a wide, flat basin. */
export function BasinMark({ size = 28 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" fill="#0b7285" />
      <path
        d="M5 8c2.2 0 3 12.5 8 12.5h6c5 0 5.8-12.5 8-12.5"
        fill="none"
        stroke="#fff"
        strokeWidth="2.6"
        strokeLinecap="round"
      />
      <circle cx="16" cy="16.3" r="2.7" fill="#ffd43b" />
    </svg>
  );
}
