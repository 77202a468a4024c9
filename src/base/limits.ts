// Every number that bounds something, with its unit in its name. Change one here, nowhere else.

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

export const LIMITS = {
  // requests
  bodyMaxBytes: 256 * 1024,
  bodyMaxDepth: 32,
  bodyMaxMembers: 2_000,
  formMaxFields: 64,
  urlMaxBytes: 4_096,
  headersTimeoutMs: 10 * SECOND,
  requestTimeoutMs: 30 * SECOND,
  /** However many descriptors there are. */
  connectionsMax: 10_000,
  /** However few. */
  connectionsMin: 16,
  connectionsPerSourceFraction: 0.75,
  /** Kept free for cells and calls to providers, or a quarter of all if that is more. */
  descriptorsFreeMin: 24,
  idempotencyKeepMs: DAY,
  instantMaxChars: 48,
  pageDefaultRows: 50,
  pageMaxRows: 500,
  /** What one turn of a list looks at before others have theirs, and how many turns one request takes for a page that stays short. */
  listScanMaxRows: 500,
  listTurnsMax: 40,

  // credentials
  valueMaxBytes: 64 * 1024,
  credentialNameMaxChars: 128,
  labelsMaxCount: 32,
  labelMaxChars: 256,
  descriptionMaxChars: 1_024,
  versionsKept: 100,
  recoveryWindowDefaultMs: 30 * DAY,
  recoveryWindowMinMs: 7 * DAY,
  recoveryWindowMaxMs: 90 * DAY,

  // tokens
  accessTokenTtlDefaultMs: 15 * MINUTE,
  directTokenTtlDefaultMs: 30 * DAY,
  directTokenTtlMaxMs: 90 * DAY,
  userTokenTtlDefaultMs: 12 * HOUR,
  userTokenTtlMaxMs: 30 * DAY,
  bootstrapSecretTtlMs: 7 * DAY,
  enrolmentTtlDefaultMs: DAY,
  enrolmentTtlMaxMs: 7 * DAY,
  workloadTtlDefaultMs: 365 * DAY,
  clientAssertionMaxAgeMs: 5 * MINUTE,
  clientAssertionTtlMaxMs: HOUR,
  clockSkewMs: 60 * SECOND,
  patternsMaxCount: 64,
  networksMaxCount: 64,
  /** Last use is written at most this often per token, so that a read needs no extra write. */
  lastUsedResolutionMs: MINUTE,

  // caches (all dropped when a batch fails; entries are bound to row revisions)
  tokenCacheEntries: 20_000,
  decisionCacheEntries: 50_000,
  credentialCacheEntries: 5_000,
  dataKeyCacheTtlMs: 5 * MINUTE,
  openTenantsMax: 2_000,

  // rates
  requestsPerSecondPerPrincipal: 50_000,
  failedAuthBurst: 300,
  failedAuthPerSecond: 50,
  /** Refusals that become events of their own: of one source (a principal; an address), and of all together. The rest is counted. */
  denialEventsBurst: 300,
  denialEventsPerSecond: 1,
  denialSourcesMaxCount: 10_000,
  denialEventsBurstInAll: 3_000,
  denialEventsPerSecondInAll: 10,
  denialSummaryEveryMs: MINUTE,
  batchMaxJobs: 512,

  // reading what others wrote
  /** Bounds how much one stop of the process may count. */
  runningTickMaxMs: 1_000,
  providerScopeMaxChars: 4_096,
  sentAssertionTtlMaxSeconds: 300,
  /** A provider whose clock is behind must not see an assertion from its future; taken off the lifetime, so that caps hold. */
  sentAssertionBackdateMaxSeconds: 30,
  providerEndpointMaxChars: 1_024,
  addressMaxChars: 64,
  /** Chained operators a file may hold outside strings and comments; about five times what the longest one needs. */
  policyOperatorsMaxCount: 128,
  progressPollMs: 300,
  connectTimeoutMaxMs: 10_000,
  wireMinBytes: 65_536,
  faultStallMs: 5_000,

  // audit
  checkpointIntervalMs: SECOND,
  /** Of one search. */
  auditScanMaxEvents: 50_000,
  /** What one turn of a search or an export reads before others have theirs: about 5 ms of work. */
  auditSliceBlocks: 128,
  auditSliceEvents: 500,
  auditSliceBytes: 512 * 1024,

  /** How often descriptors are counted. */
  descriptorsCountEveryMs: 5 * SECOND,
  /** An answer that its reader has not taken by then may be cut off to let somebody else in. */
  slowReaderMs: 2 * SECOND,
  /** A connection younger than this is about to say what it wants. */
  freshConnectionMs: 250,
  /** Trusted proxies in a row. */
  forwardedHopsMax: 64,

  // keys of clients
  rsaMinBits: 2_048,
  rsaMaxBits: 8_192,
  /** FIPS 186-5 section 5.1: odd and larger than 2^16. */
  rsaExponentMin: 65_537,

  // health
  storageProbeEveryMs: SECOND,
  storageProbesMax: 8,
  schedulerStoppedMs: 15 * SECOND,

  // deleted rows
  /** How long what was deleted may lie in a file, where nobody waits for it to be gone. */
  residueMaxMs: MINUTE,

  // anchored state
  /** Of changes that the witness does not keep yet: past this the journal is cut, and continuity rests on the log's tree alone. */
  anchorJournalMaxBytes: 32 * 1024 * 1024,
  /** Damaged objects told one by one while a cell is open; past this the scrub has the list. */
  damageToldMax: 1_000,

  // keys
  wrapsPerKeyMax: Math.floor(2 ** 32 * 0.9),
  rewrapBatchRows: 200,
  keyDestroyDelayMs: 7 * DAY,

  // reading the log
  /** A clock set back by more than this hides events from `since` and `until`: blocks are found by halving, as if time only went forward. */
  auditClockSlackMs: DAY,
  /** How often `keyturn audit tail` asks. */
  auditFollowMs: SECOND,
  /** A page that looked at many events comes back short: so many such pages the command line asks for before a person has to. */
  auditShortPagesMax: 200,
  /** Secrets shorter than this are not looked for in messages: they would hide parts of ordinary words. */
  heldSecretMinChars: 8,

  // anchored state
  /** A chunk of the map with more entries than this is split when it is written. */
  anchorChunkMaxEntries: 512,
  /** What a scrub tells in words of each table; the rest is counted. */
  scrubFindingsMax: 10,
  /** Rows of a table, and blocks of the log, that a scrub in service checks before it lets others run: about a millisecond. */
  scrubSliceRows: 100,
  scrubSliceBlocks: 8,
  /** Workers: between two signed heads of the home cell in the operator's log, and before an alarm that failed is tried again. */
  homeCheckpointEveryMs: 60_000,
  alarmRetryMs: 60_000,
  /** Between the beginnings of two scrubs in service of all open cells, at least. */
  scrubEveryMs: 3_600_000,
  /** As `scrubEveryMs`, of an object that may sleep: a scrub wakes it. */
  scrubEverySleepingMs: 86_400_000,
  /** A scrub in service rests this many times as long as it worked: it uses at most 2 % of a processor. */
  scrubRestFactor: 50,

  // time
  /** A clock that differs more than this from the time the process was running has jumped. */
  clockJumpMaxMs: 10 * MINUTE,
  /** How long a clock must go steadily, since the start or since a jump, before anything is destroyed on its word. */
  clockSteadyMs: HOUR,

  // refresh
  providerTimeoutMs: 20 * SECOND,
  providerAnswerMaxBytes: 256 * 1024,
  leaseMs: 45 * SECOND,
  leaseHeartbeatMs: 10 * SECOND,
  /** What exists nowhere else is stored again and again while the disk is full. */
  storeTriesMax: 600,
  storePauseMs: SECOND,
  /** Revocations, and questions about grants, at once. */
  providerCallsAtOnce: 8,
  refreshMarginMinMs: 5 * MINUTE,
  refreshMarginFraction: 0.1,
  refreshMarginMaxFraction: 0.5,
  refreshDefaultTtlMs: HOUR,
  /** A token that lives shorter from the day it is handed out is of no use to anybody. */
  usefulLifetimeMinMs: SECOND,
  refreshCoolDownMs: 30 * SECOND,
  refreshBackoffBaseMs: 5 * SECOND,
  refreshBackoffMaxMs: HOUR,
  /** Of one refresh in one go: the send, one more at once where its answer was lost, and one where a stop had cost it the lease. */
  refreshTriesMax: 3,
  /** When to come again while a refresh is under way, or to a process that ends. */
  refreshUnderWayAgainMs: 2 * SECOND,
  stoppingAgainMs: 5 * SECOND,
  /** After a refusal that is not of the grant, such as of the client's secret. */
  refreshRefusedBackoffBaseMs: MINUTE,
  /** The shortest wait where the token that is left ends sooner. */
  refreshWaitMinMs: SECOND,
  /** So long after a failure a reader without a live token has it tried again; doubles up to the bound with each failure. */
  readerRetryMs: 5 * SECOND,
  readerRetryMaxMs: 10 * SECOND,
  readerRetryRefusedMaxMs: 5 * MINUTE,
  /** A grant refused in unknown words for longer than its token lived, at most so long, is a matter for a person. */
  refusedTooLongMaxMs: DAY,
  /** The longest a provider may have us wait; an instant further away was written by a clock that went astray. */
  refreshWaitMaxMs: DAY,
  accountValueMaxChars: 512,
  /** Hosts as one event tells them. */
  hostsTextMaxChars: 500,
  /** Where a provider's own figure is unknown. */
  providerRequestsPerSecond: 200,
  breakerFailures: 8,
  breakerOpenMs: 30 * SECOND,
  breakerOpenMaxMs: 10 * MINUTE,
  /** A reader who waits for a token finds out so often whether the provider is back. */
  breakerProbeMs: 5 * SECOND,
  /** No access token is handed out for longer with a count of seconds; a longer one is meant as "no end". */
  tokenLifeMaxSeconds: 366 * 86_400,
  /** An instant is believed, but for no longer than this; one past the year 9999 is none. */
  tokenEndMaxMs: 3_650 * DAY,
  lastInstantMs: 253_402_300_799_999,
  /** From here on, and in whole minutes, a life is a count of milliseconds: nobody means 3 days, 11 hours and 20 minutes. */
  tokenLifeInMillisecondsFrom: 300_000,
  /** Up to here a whole number of days is believed as seconds (30, 60, 90 days). */
  tokenLifeWholeDaysMax: 100,
  /** What is kept of a provider's words, and how much of its text is read for it. */
  excerptMaxChars: 400,
  excerptReadMaxChars: 8_192,
  errorWordsMaxCount: 8,
  answerDepthMax: 6,
  keepAliveFraction: 0.75,
  importWatchMs: 7 * DAY,
  importRecentMs: DAY,
  importPutMs: 15 * MINUTE,
  dueWorkConcurrency: 64,
  dueWorkBatchRows: 500,

  // consent
  connectLinkTtlDefaultMs: DAY,
  connectLinkTtlMinMs: 5 * MINUTE,
  connectLinkTtlMaxMs: 7 * DAY,
  connectAttemptTtlMs: 15 * MINUTE,
  /** Begun by one link: each leaves an event. */
  connectAttemptsMaxCount: 50,
  connectionsOpenMaxCount: 16,
  scopesMaxCount: 200,
  workflowsMaxCount: 64,

  // forecast, revocation
  noticeDays: [30, 7, 1],
  reviewEveryMs: DAY,
  reviewAtMostEveryMs: HOUR,
  revokeBackoffBaseMs: 30 * SECOND,
  revokeBackoffMaxMs: 6 * HOUR,
  revokeGiveUpMs: 7 * DAY,

  // alerts
  webhooksMaxCount: 16,
  webhookTimeoutMs: 10 * SECOND,
  webhookBackoffBaseMs: 5 * SECOND,
  webhookBackoffMaxMs: HOUR,
  webhookGiveUpMs: 3 * DAY,
  alertsKeepMs: 400 * DAY,
} as const;
