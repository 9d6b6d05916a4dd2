package shopify

// The vendor prices a query before it runs: an object costs a point, a
// connection its size times its nodes, and no single query may exceed 1,000
// points. The page sizes below keep every document under that; the simulator
// computes the same sums and a test compares.
const (
	maxQueryCost = 1000

	listPage          = 5  // orders
	listLines         = 5  // lines of each order in a listing
	fetchLines        = 50 // lines in the first page of one order
	morePlain         = 90 // lines in a further page
	moreWithDuty      = 60 // the same where the order has duties
	shippingPage      = 3  // shipping lines; an order has one, rarely more
	fulfillmentOrders = 5  // of an order; there is one for each location, rarely more
	fulfillmentLines  = 75 // lines of each in the first page
	moreFulfillment   = 240
	fulfillmentsRead  = 100 // fulfillments of an order looked at in a read-back
)

const fragments = `
fragment Bag on MoneyBag { shopMoney { amount currencyCode } presentmentMoney { amount currencyCode } }
fragment Shop on MoneyBag { shopMoney { amount currencyCode } }
fragment Place on MailingAddress { name firstName lastName company address1 address2 city provinceCode zip countryCodeV2 phone }
fragment Line on LineItem {
  id sku title quantity currentQuantity unfulfilledQuantity requiresShipping isGiftCard
  product { id }
  originalUnitPriceSet { ...Shop }
  discountAllocations { allocatedAmountSet { ...Shop } }
  taxLines { title rate priceSet { ...Shop } }
  duties @include(if: $duties) { price { ...Shop } taxLines { title rate priceSet { ...Shop } } }
}
fragment Delivery on ShippingLine {
  title code isRemoved
  originalPriceSet { ...Bag }
  discountedPriceSet { ...Bag }
  discountAllocations { allocatedAmountSet { ...Bag } }
  taxLines { title rate priceSet { ...Shop } }
}
fragment Whole on Order {
  id name createdAt processedAt updatedAt cancelledAt
  currencyCode presentmentCurrencyCode taxesIncluded dutiesIncluded test
  displayFinancialStatus email phone
  customer { id firstName lastName defaultEmailAddress { emailAddress } defaultPhoneNumber { phoneNumber } }
  shippingAddress { ...Place }
  billingAddress { ...Place }
  subtotalPriceSet { ...Bag }
  totalDiscountsSet { ...Bag }
  totalShippingPriceSet { ...Bag }
  originalTotalDutiesSet { ...Bag }
  originalTotalAdditionalFeesSet { ...Bag }
  totalTipReceivedSet { ...Bag }
  totalTaxSet { ...Bag }
  totalCashRoundingAdjustment { paymentSet { ...Bag } }
  totalPriceSet { ...Bag }
  shippingLines(first: $shipping) { nodes { ...Delivery } pageInfo { hasNextPage endCursor } }
  lineItems(first: $lines) { nodes { ...Line } pageInfo { hasNextPage endCursor } }
}
`

const listOrdersQuery = `query ListOrders($first: Int!, $after: String, $query: String!, $shipping: Int!, $lines: Int!, $duties: Boolean!) {
  orders(first: $first, after: $after, query: $query, sortKey: UPDATED_AT) {
    nodes { ...Whole }
    pageInfo { hasNextPage endCursor }
  }
}
` + fragments

const fetchOrderQuery = `query FetchOrder($id: ID!, $shipping: Int!, $lines: Int!, $duties: Boolean!) {
  order(id: $id) { ...Whole }
}
` + fragments

const orderLinesQuery = `query OrderLines($id: ID!, $first: Int!, $after: String!, $duties: Boolean!) {
  order(id: $id) { updatedAt lineItems(first: $first, after: $after) { nodes { ...Line } pageInfo { hasNextPage endCursor } } }
}
fragment Shop on MoneyBag { shopMoney { amount currencyCode } }
fragment Line on LineItem {
  id sku title quantity currentQuantity unfulfilledQuantity requiresShipping isGiftCard
  product { id }
  originalUnitPriceSet { ...Shop }
  discountAllocations { allocatedAmountSet { ...Shop } }
  taxLines { title rate priceSet { ...Shop } }
  duties @include(if: $duties) { price { ...Shop } taxLines { title rate priceSet { ...Shop } } }
}
`

const orderDeliveriesQuery = `query OrderDeliveries($id: ID!, $first: Int!, $after: String!) {
  order(id: $id) { updatedAt shippingLines(first: $first, after: $after) { nodes { ...Delivery } pageInfo { hasNextPage endCursor } } }
}
fragment Bag on MoneyBag { shopMoney { amount currencyCode } presentmentMoney { amount currencyCode } }
fragment Shop on MoneyBag { shopMoney { amount currencyCode } }
fragment Delivery on ShippingLine {
  title code isRemoved
  originalPriceSet { ...Bag }
  discountedPriceSet { ...Bag }
  discountAllocations { allocatedAmountSet { ...Bag } }
  taxLines { title rate priceSet { ...Shop } }
}
`

const fulfillmentOrdersQuery = `query FulfillmentOrders($id: ID!, $first: Int!, $after: String, $lines: Int!, $done: Int!, $tracked: Boolean!) {
  order(id: $id) {
    fulfillments(first: $done) @include(if: $tracked) { ...Done }
    fulfillmentOrders(first: $first, after: $after) {
      nodes {
        id status
        lineItems(first: $lines) { nodes { ...Remaining } pageInfo { hasNextPage endCursor } }
      }
      pageInfo { hasNextPage endCursor }
    }
  }
}
` + remainingFragment + doneFragment

const fulfillmentOrderLinesQuery = `query FulfillmentOrderLines($id: ID!, $first: Int!, $after: String!) {
  fulfillmentOrder(id: $id) {
    lineItems(first: $first, after: $after) { nodes { ...Remaining } pageInfo { hasNextPage endCursor } }
  }
}
` + remainingFragment

const remainingFragment = `fragment Remaining on FulfillmentOrderLineItem { id sku remainingQuantity lineItem { id } }
`

const fulfillmentsQuery = `query Fulfillments($id: ID!, $first: Int!) {
  order(id: $id) {
    fulfillments(first: $first) { ...Done }
  }
}
` + doneFragment

const doneFragment = `fragment Done on Fulfillment { id name status trackingInfo { number } }
`

const fulfillmentLinesQuery = `query FulfillmentLines($id: ID!, $first: Int!, $after: String) {
  fulfillment(id: $id) {
    fulfillmentLineItems(first: $first, after: $after) {
      nodes { quantity lineItem { id sku } }
      pageInfo { hasNextPage endCursor }
    }
  }
}
`

const fulfillmentCreateMutation = `mutation FulfillmentCreate($fulfillment: FulfillmentInput!) {
  fulfillmentCreate(fulfillment: $fulfillment) {
    fulfillment { id name status }
    userErrors { field message }
  }
}
`

// documents are all GraphQL documents that the connector sends; a test
// validates each against the vendor's schema.
var documents = map[string]string{
	"ListOrders": listOrdersQuery, "FetchOrder": fetchOrderQuery,
	"OrderLines": orderLinesQuery, "OrderDeliveries": orderDeliveriesQuery,
	"FulfillmentOrders": fulfillmentOrdersQuery, "FulfillmentOrderLines": fulfillmentOrderLinesQuery,
	"Fulfillments": fulfillmentsQuery, "FulfillmentLines": fulfillmentLinesQuery,
	"FulfillmentCreate": fulfillmentCreateMutation,
}
