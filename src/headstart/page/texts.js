/** What the page says, in English and Chinese. */

const TEXTS = {
  en: {
    title: 'What is in the photo?',
    titleOf: ({ name }) => `${name}: what is in the photo?`,
    model: 'Model',
    language: 'Language',
    drop: 'Drop photos here, or paste one',
    choose: 'Choose photos',
    chooseFolder: 'Choose a folder',
    take: 'Take a photo',
    privateHere: 'Photos stay on this device.',
    privateThere: 'Photos are sent to this server, which predicts them and does not keep them.',
    knows: ({ names, more }) => `The model can tell: ${names}${more ? ` and ${more} more` : ''}.`,
    estimates: ({ names }) => `The model estimates: ${names}.`,
    loading: 'Loading the model …',
    busy: ({ done, all }) => `${done} of ${all} photos done`,
    done: ({ all, failed }) => {
      if (!failed) return all === 1 ? '1 photo predicted' : `${all} photos predicted`;
      return all === 1 ? 'The photo could not be read' : `${all - failed} of ${all} photos predicted, ${failed} could not be read`;
    },
    left: ({ count }) => `${count === 1 ? '1 file is no photo and was' : `${count} files are no photos and were`} left out.`,
    nothing: 'There is no photo in what was given. Give photos, for example JPEG or PNG files.',
    cancel: 'Cancel',
    clear: 'Clear',
    back: 'Back to all photos',
    previous: 'Previous photo',
    next: 'Next photo',
    result: 'Answer',
    none: 'Probably none of these classes.',
    noneWhy: 'The photo differs from all photos that the model was trained on. The classes below are guesses.',
    noLabels: 'None of the labels',
    show: 'Show where the answer comes from',
    heatOf: ({ label }) => `The lighter the colour, the more this part of the photo speaks for “${label}”.`,
    boxOf: 'The box is where the model finds the object.',
    similar: 'Most similar training photos',
    similarity: 'Similarity, −1 to 1',
    noThumbnail: 'no picture',
    all: ({ count }) => `Show all ${count} classes`,
    fewer: 'Show fewer',
    cannotShow: 'This browser cannot display the photo. The answer is not affected.',
    photos: 'Photos',
    photo: 'Photo',
    answer: 'Answer',
    probability: 'Probability',
    doubt: 'Doubt',
    doubtful: 'doubtful',
    sure: 'sure',
    waiting: 'waiting',
    noneShort: 'none of these?',
    filter: 'Show',
    filterAll: 'all photos',
    filterDoubt: 'doubtful photos (less than 80 % sure)',
    filterUnknown: 'none of these classes',
    filterError: 'photos without an answer',
    search: 'File name contains',
    caption: ({ shown, all }) => `${shown} of ${all} photos. Select a column to sort by it, and a photo to see it.`,
    more: ({ count }) => `Show ${count} more`,
    csv: 'Save as CSV',
    about: 'About this model',
    aboutTask: 'Task',
    aboutClasses: 'Classes',
    aboutNumbers: 'Numbers',
    aboutHash: 'SHA-256',
    task: ({ name }) =>
      ({ classification: 'one class per photo', multilabel: 'several labels per photo', regression: 'numbers', box: 'a box around one object' })[name] ?? name,
    tokenTitle: 'This server asks for a token',
    tokenWhy: 'The person who runs it has one. It is kept until this tab is closed, and sent to this server only.',
    tokenWrong: 'The server did not accept this token.',
    token: 'Token',
    tokenSend: 'Continue',
    replaced: 'The model on this server has been replaced. Try again to predict all photos with the new one.',
    unreachable: 'The server cannot be reached. Check the connection, and try again.',
    again: 'Try again',
    emptyFile: 'The file is empty.',
    tooLarge: 'The photo is too large for this server.',
    cannotStart: ({ reason }) => `The model cannot be loaded. ${reason}`,
  },
  zh: {
    title: '照片里是什么？',
    titleOf: ({ name }) => `${name}：照片里是什么？`,
    model: '模型',
    language: '语言',
    drop: '把照片拖到这里，或者粘贴一张照片',
    choose: '选择照片',
    chooseFolder: '选择文件夹',
    take: '拍照',
    privateHere: '照片不会离开这台设备。',
    privateThere: '照片会发送到这台服务器进行预测，服务器不会保存照片。',
    knows: ({ names, more }) => `模型可以识别：${names}${more ? ` 以及另外 ${more} 个类别` : ''}。`,
    estimates: ({ names }) => `模型可以估计：${names}。`,
    loading: '正在加载模型……',
    busy: ({ done, all }) => `已完成 ${done} / ${all} 张照片`,
    done: ({ all, failed }) => {
      if (!failed) return `已预测 ${all} 张照片`;
      return all === 1 ? '照片无法读取' : `已预测 ${all} 张照片中的 ${all - failed} 张，${failed} 张无法读取`;
    },
    left: ({ count }) => `有 ${count} 个文件不是照片，已略过。`,
    nothing: '没有找到照片。请选择照片文件，例如 JPEG 或 PNG。',
    cancel: '取消',
    clear: '清空',
    back: '返回全部照片',
    previous: '上一张',
    next: '下一张',
    result: '结果',
    none: '很可能不属于任何类别。',
    noneWhy: '这张照片与训练模型所用的照片都不相像。下面的类别只是猜测。',
    noLabels: '没有标签',
    show: '显示结果的依据在哪里',
    heatOf: ({ label }) => `颜色越亮，照片的这一部分越支持“${label}”。`,
    boxOf: '方框标出模型找到的物体。',
    similar: '最相似的训练照片',
    similarity: '相似度，−1 到 1',
    noThumbnail: '没有图片',
    all: ({ count }) => `显示全部 ${count} 个类别`,
    fewer: '收起',
    cannotShow: '浏览器无法显示这张照片，但结果不受影响。',
    photos: '照片列表',
    photo: '照片',
    answer: '结果',
    probability: '概率',
    doubt: '把握',
    doubtful: '存疑',
    sure: '确定',
    waiting: '等待中',
    noneShort: '不属于任何类别？',
    filter: '显示',
    filterAll: '全部照片',
    filterDoubt: '存疑的照片(把握低于 80%)',
    filterUnknown: '不属于任何类别的照片',
    filterError: '没有结果的照片',
    search: '文件名包含',
    caption: ({ shown, all }) => `共 ${all} 张照片，显示 ${shown} 张。点击列名可以排序，点击照片可以查看。`,
    more: ({ count }) => `再显示 ${count} 张`,
    csv: '保存为 CSV',
    about: '关于这个模型',
    aboutTask: '任务',
    aboutClasses: '类别',
    aboutNumbers: '数值',
    aboutHash: 'SHA-256',
    task: ({ name }) =>
      ({ classification: '每张照片一个类别', multilabel: '每张照片多个标签', regression: '数值', box: '标出一个物体的方框' })[name] ?? name,
    tokenTitle: '这台服务器需要令牌',
    tokenWhy: '请向管理员索取令牌。令牌只发送给这台服务器，关闭标签页后即被删除。',
    tokenWrong: '服务器没有接受这个令牌。',
    token: '令牌',
    tokenSend: '继续',
    replaced: '服务器上的模型已更换。请重试，用新模型预测全部照片。',
    unreachable: '无法连接服务器。请检查网络后重试。',
    again: '重试',
    emptyFile: '文件是空的。',
    tooLarge: '照片太大，服务器不接受。',
    cannotStart: ({ reason }) => `无法加载模型。${reason}`,
  },
};

let language = 'en';

/** Return the language of the page, `'en'` or `'zh'`. */
export const currentLanguage = () => language;

/** Use a language; one that is not there becomes English. Static texts of the page are replaced. */
export function useLanguage(wanted) {
  language = Object.hasOwn(TEXTS, wanted) ? wanted : 'en';
  document.documentElement.lang = language === 'zh' ? 'zh-CN' : 'en';
  for (const element of document.querySelectorAll('[data-text]')) element.textContent = say(element.dataset.text);
}

/** Return a text in the language of the page; `values` are filled in. */
export function say(name, values = {}) {
  const text = TEXTS[language][name];
  return typeof text === 'function' ? text(values) : text;
}

const CONTROLS = /[\u202a-\u202e\u2066-\u2069]/g; // of the direction of writing
const MAY_TURN = /[\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}]|[\u202a-\u202e\u2066-\u2069]/u;

/** Return a name for a sentence. A name from right to left does not change the order of what is around it. */
export const isolated = (name) => (MAY_TURN.test(name) ? `\u2068${name.replace(CONTROLS, '')}\u2069` : name);

/** Return several names as one text. */
export const listOf = (names) => names.map(isolated).join(', ');

/** Compare two texts as people sort them: "2" comes before "10". */
export const { compare } = new Intl.Collator(undefined, { numeric: true });

/** Return a probability, 0..1, as a percentage with one decimal. */
export const percent = (value) =>
  new Intl.NumberFormat(language, { style: 'percent', minimumFractionDigits: 1, maximumFractionDigits: 1 }).format(value);

/** Return a number of about 0 to 1 with two decimals. */
export const fraction = (value) =>
  new Intl.NumberFormat(language, { minimumFractionDigits: 2, maximumFractionDigits: 2 }).format(value);

/** Return a predicted number with as many digits as say something. */
export const number = (value) => new Intl.NumberFormat(language, { maximumSignificantDigits: 4 }).format(value);
